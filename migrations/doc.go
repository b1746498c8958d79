// Package migrations brings a database to the schema that this binary expects:
// the schema klingwatch with our tables (the numbered SQL files of this
// folder) and River's tables (River's own migrator) beside them.
//
// Migrations only go up. One session advisory lock makes them run once, however
// many processes start at the same time. A database that is newer than the
// binary is refused: an old binary would misread it.
package migrations
