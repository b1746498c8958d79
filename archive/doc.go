// Package archive keeps files by their keys, on a disk or in a store that speaks S3.
// It knows nothing of tasks: who fetches a file, and under which key it is kept, is
// decided elsewhere.
//
//	store, err := archive.Open("file:/srv/klingwatch", dataDir)
//	local, err := os.CreateTemp(store.Spool(), "video-")   // fetch into it, then
//	err = store.Put(ctx, key, local, archive.Info{Size: n, SHA256: sum, ContentType: "video/mp4"})
//	content, err := store.Open(ctx, key)                    // seeks and reads
//
// What holds whenever a process is killed, at any byte: a key has the whole file or
// none, and it never has another one. What is left behind lies in the spool, where
// CleanSpool removes it.
//
//   - The disk store writes the content to the disk first, then gives it its final name
//     by a hard link, which replaces nothing, then writes the folders to the disk.
//   - The S3 store asks the server to take the file only where there is none
//     (If-None-Match), and sends the sha256 of what it sends with each request as part
//     of the signature, so that the server refuses what was changed on the way. Then it
//     asks for the size.
//
// Errors are one line for the person who runs klingwatch, and never hold a key or a
// signed address. Temporary tells which of them are worth another try: all but those
// that the call itself is the cause of. A bucket that does not exist yet, or a key that
// is refused, is worth one: a person will mend it, and the file must not be given up.
package archive
