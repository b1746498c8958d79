// Package process starts the processes of a measurement, calls them, and reads
// what they use of the machine.
//
// A process is klingbench itself in a Role, as the hidden command child. It
// answers calls of net/rpc on stdin and stdout and ends when stdin does, so it
// never outlives its parent:
//
//	parent: Start -> Call ... Call -> Stop, or Kill
//	child:  Role.Serve, until stdin ends
package process
