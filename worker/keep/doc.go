// Package keep has the files of tasks kept: it fetches each from the provider before that
// deletes it, stores it, and writes down what is known of it.
//
//	pending ── fetched, stored ──────────────────────────────> stored
//	   │  └─── larger than what is kept ─────────────────────> skipped
//	   ├────── URL refused (403, 404, 410) ── the relay is asked once for a new one ──┐
//	   ├────── trouble: again later, the sooner the less time is left <───────────────┘
//	   └────── the new URL refused as well after the expiry, or no file a day after it ──> lost
//
// Videos are looked into with ffmpeg, for their size and a thumbnail, once they are stored.
//
// Nothing is lost and nothing is there twice wherever a process is killed. A file goes to
// the local spool first, where nobody sees it; its key in the store has the first digits of
// its SHA-256, so that a second try ends at the same place. Before a file is stored its key
// is claimed in archive_removals, and the claim goes with the row that tells of the file:
// what no row tells of is removed a day later.
package keep
