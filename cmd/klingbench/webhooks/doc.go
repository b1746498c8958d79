// Package webhooks measures how webhooks are delivered:
//
//	stream    from the commit of a task's end to healthy receivers, alone and beside others in trouble
//	flood     as many deliveries as possible, against the webhook client alone
//	crash     kill -9 in the middle of deliveries: what is lost or sent twice, and when the last arrives
//	crowd     healthy paths behind others in trouble, all of one host
//	trickle   the memory that receivers take that answer a byte per second
package webhooks
