// Package db remembers: tasks, outputs, events, deliveries and attempts. It is
// the only package with query text (beside the migrations). Functions are named
// for the fact that they establish, take a pool or a transaction, and run one
// statement each; who needs several in one transaction begins it.
//
// A task's status changes by compare-and-set:
//
//	pending -> submitted -> processing -> succeeded | failed
//	   |           |            |
//	   +-----------+------------+------> expired | not_found | canceled
//
// Every change makes one event, and every event one delivery per receiver, all
// in the transaction of the change. Times that cross processes are the
// database's.
package db
