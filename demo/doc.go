// Package demo shows a deployment at work: sample tasks whose ends are known
// beforehand, a receiver that verifies their webhooks with a public library, and
// a comparison of what happened with what was expected.
//
//	receiver := &demo.Receiver{}
//	server := httptest.NewServer(receiver)
//	err := receiver.Subscribe(ctx, pool, server.URL)
//	// ... start a service on the same database, with the simulator as its relay
//	run, err := demo.Start(ctx, pool, receiver, 20)
//	err = run.Follow(ctx, func(p demo.Progress) { fmt.Println(p.Ended, p.Verified) })
//	rows, err := run.Compare(ctx)
//
// The ends are those that klingapi/klingsim gives to the words in the ids.
package demo
