// Package reports measures what stays in the database:
//
//	report   how soon the report views answer on a million tasks
//	soak     whether the tables stay small while everything runs at once
package reports
