// Package contender has the programs that are compared, each in a process of its
// own. The services process tasks in a database: klingwatch's worker, the same with
// the HTTP API beside it, and a naive River service, as most would write it at first.
// The clients send the same requests without a database, which is the limit for a
// service with the same client.
//
//	services: klingwatch's worker    worker and API    naive River
//	clients:  polls with klingapi    webhooks with package webhook    files with io.Copy
package contender
