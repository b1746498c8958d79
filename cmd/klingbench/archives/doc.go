// Package archives measures how files are kept: whether any is lost or doubled when the
// process is killed, how fast and how soon they are stored, what memory that takes, and what
// it does to polls and webhooks beside it.
//
//	host of files ── worker ── place: a directory, or an S3 server on this machine
//	                   │
//	                Postgres
package archives
