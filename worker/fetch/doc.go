// Package fetch brings the file of a provider to this machine: whole, of the kind that
// was announced, with its sha256 and what else can be known of it; or it says by a
// Reason why there is none. It knows nothing of River, the database and the store: a
// caller decides what to do and when to come back.
//
//	client, tools, turns := fetch.New(cfg), fetch.FindTools(ctx), fetch.NewTurns(8, 4)
//
//	done, err := turns.Wait(ctx, host, expires)     // few at once, soonest expiry first
//	file, err := client.Fetch(ctx, source, local, nil)
//	file, thumb, err := tools.Measure(ctx, file, local, thumbnail)
//	done()
//
// The hosts are strangers, and a clip that was paid for must not be lost, so:
//
//	what is a file    decided by its first bytes; a page that calls itself video/mp4 is none,
//	                  and gzip that nobody asked for is undone
//	where it ends     by Content-Length, the last chunk or the trailer of gzip; where none of
//	                  them is there, the format must tell that the file is whole
//	after a cut       the rest is asked for by Range, on condition (If-Range) that it is still the
//	                  same file; without a strong ETag or an old Last-Modified, and for gzip,
//	                  the file is taken from its beginning. A part that does not fit is never
//	                  joined. Five tries in a row may bring too little.
//	how long          no limit for the whole: an attempt ends when half a minute brings less than
//	                  256 kB, so that a drip holds no turn
//	how large         Config.MaxBytes, also of what was packed or has no end
//	where from        addresses are checked when they are dialed, of each of at most five
//	                  redirects too; from https a redirect to http is refused. No proxy.
//	secrets           the relay's key goes to its own origin only, and not again after a redirect
//	                  has left it; errors name the host alone, without path and query
//
// A download takes one buffer of 128 kB and a connection of its own, by HTTP/1.1. A
// picture is made small in our own memory, at most 320 MB and one at a time in the
// process; one that would take more has no thumbnail. Videos are given to ffmpeg, where it
// is installed: nicely, one thread, 1 GiB, ten seconds, no network and no other file.
//
//	client.go     settings, and one fetch over all its attempts; when to try again
//	request.go    one request with its redirects; answer.go: what the headers promise
//	download.go   the body, on its way into the local file; pace.go: whether enough comes
//	inline.go     data: URLs
//	sniff.go      what a file is; ending.go: whether it is whole
//	failure.go    what a caller decides by
//	turns.go      who downloads now
//	measure.go    sizes, durations, thumbnails: picture.go our own, film.go those of ffmpeg
//	tools.go      finds ffmpeg and runs it within bounds
package fetch
