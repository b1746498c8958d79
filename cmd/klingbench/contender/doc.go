// Package contender has those that are compared, each a process of its own. The
// services work off tasks in a database: klingwatch's worker, and a naive River
// service that one writes first. The clients are the limit that a service with
// the same client can come near to: they send the same requests without a
// database.
//
//	services: klingwatch's worker    naive River
//	clients:  polls with klingapi    webhooks with package webhook
package contender
