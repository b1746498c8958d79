// Command klingbench measures klingwatch on this machine. It starts everything
// that it needs: a Postgres of its own, a stub of the relay, receivers of webhooks
// and the workers, each in a process of its own, so that the CPU and memory of each
// can be measured. It stops by itself and leaves nothing behind.
//
//	go run ./cmd/klingbench poll            # throughput, WAL, CPU, memory
//	go run ./cmd/klingbench late            # how exactly polls keep their time
//	go run ./cmd/klingbench insert          # from the row to the first poll, bulk inserts, webhooks
//	go run ./cmd/klingbench crash           # taking over after kill -9
//	go run ./cmd/klingbench order           # what the order of events costs
//	go run ./cmd/klingbench webhook         # how soon and how many webhooks go out, beside receivers in trouble
//	go run ./cmd/klingbench latency         # from the end at the provider to the webhook, for each way to learn of the end
//	go run ./cmd/klingbench api             # the HTTP API: feed, waits, lists, inserts, bulk actions, callbacks
//	go run ./cmd/klingbench pages           # the pages: how fast, how soon they change, what an idle one asks
//	go run ./cmd/klingbench archive         # kept files: over kills, throughput, memory, beside polls and webhooks
//	go run ./cmd/klingbench report          # the report views on a million tasks
//	go run ./cmd/klingbench fleet           # many processes on one database, many tasks in flight
//	go run ./cmd/klingbench soak            # sizes while everything runs at once for minutes
//	go run ./cmd/klingbench schedule        # what the learned schedule gains, a simulation
//	go run ./cmd/klingbench capacity        # how far one Postgres goes, a simulation
//	go run ./cmd/klingbench chaos           # everything around klingwatch fails; is anything lost, doubled or left?
//	go run ./cmd/klingbench check           # are quick runs worse than stored ones?
//	go run ./cmd/klingbench poll --quick --json
//
// Absolute figures say little about another machine: what is compared with a
// target is a ratio within one run where that is possible. poll therefore always
// measures three contenders one after the other: the HTTP client alone without a
// database (the limit), a naive River job per task that polls and snoozes, and
// klingwatch's worker; over plain HTTP/1.1, and over TLS and HTTP/2 as real relays
// speak. webhook compares the worker with its webhook client alone,
// and healthy receivers alone with the same ones beside others in trouble.
//
//	main -> apis, archives, fleets -> polls, webhooks, reports, latencies -> bench -> contender -> standin -> process
//	             -> callers                  -> completions -> bench   -> figures
//	     -> schedules, capacities, checks -> figures
//	     -> chaos -> cluster -> bench
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/klingwatch/klingwatch/cmd/klingbench/apis"
	"github.com/klingwatch/klingwatch/cmd/klingbench/archives"
	"github.com/klingwatch/klingwatch/cmd/klingbench/capacities"
	"github.com/klingwatch/klingwatch/cmd/klingbench/chaos"
	"github.com/klingwatch/klingwatch/cmd/klingbench/checks"
	"github.com/klingwatch/klingwatch/cmd/klingbench/figures"
	"github.com/klingwatch/klingwatch/cmd/klingbench/fleets"
	"github.com/klingwatch/klingwatch/cmd/klingbench/latencies"
	"github.com/klingwatch/klingwatch/cmd/klingbench/polls"
	"github.com/klingwatch/klingwatch/cmd/klingbench/process"
	"github.com/klingwatch/klingwatch/cmd/klingbench/reports"
	"github.com/klingwatch/klingwatch/cmd/klingbench/schedules"
	"github.com/klingwatch/klingwatch/cmd/klingbench/webhooks"
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// Exit codes.
const (
	exitOK    = 0 // measured; missed targets are no error, but faults of the chaos run and what check finds are
	exitError = 1
	exitUsage = 2
)

// commands is the command line.
type commands struct {
	Poll     polls.PollCommand         `cmd:"" help:"Throughput against the HTTP limit and naive River, WAL and CPU per poll, memory per task."`
	Late     polls.LateCommand         `cmd:"" help:"How late polls arrive at the relay, below saturation."`
	Insert   polls.InsertCommand       `cmd:"" help:"From the insert to the first poll, bulk and single inserts, from the last reply to the webhook."`
	Crash    polls.CrashCommand        `cmd:"" help:"How soon the tasks of a killed process are polled again."`
	Order    polls.OrderCommand        `cmd:"" help:"How many tasks end per second with events in the order of their commits, and without."`
	Webhook  webhooks.WebhookCommand   `cmd:"" help:"From the commit to the receiver, against the webhook client alone, beside receivers in trouble."`
	Latency  latencies.Command         `cmd:"" help:"From the end of a task at the provider to its webhook: fixed interval, learned schedule, batches, callback."`
	API      apis.Command              `cmd:"" name:"api" help:"How soon followers and waiters are told, how fast tasks are listed, tracked and canceled over the HTTP API, from a callback to the webhook."`
	Pages    apis.PagesCommand         `cmd:"" help:"How fast pages are made of a million tasks, how soon an open one changes, and what an idle one asks the database."`
	Archive  archives.Command          `cmd:"" help:"Whether files are kept once over kills -9, how fast and how soon, and what that does to memory, polls and webhooks."`
	Fleet    fleets.Command            `cmd:"" help:"How 1, 2 and 4 processes share tasks and rate, what happens when one is killed or joins, and hundreds of thousands of tasks in flight."`
	Report   reports.ReportCommand     `cmd:"" help:"How fast the report views answer on a million tasks."`
	Soak     reports.SoakCommand       `cmd:"" help:"Whether the database stays small while tasks come, end, are reported by webhook, read and deleted."`
	Schedule schedules.ScheduleCommand `cmd:"" help:"How soon an end is seen with the learned schedule and with the fixed interval, at the same number of polls."`
	Capacity capacities.Command        `cmd:"" help:"How many tasks can be in flight on one Postgres by interval and duration, and what runs out first; a simulation."`
	Chaos    chaos.Command             `cmd:"" help:"Whether anything is lost, doubled or left behind while processes, Postgres, its clock, the network, the relay and receivers fail; exit code 1 if so."`
	Check    checks.Command            `cmd:"" help:"Whether figures of quick runs are worse than stored ones by more than 15 %; exit code 1 if so."`
	Child    childCommand              `cmd:"" hidden:"" help:"A process of a measurement."`
}

func run(args []string, out, errOut io.Writer) int {
	// The first signal ends everything in good order, a second one at once.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)

	exit := -1
	parser, err := kong.New(&commands{},
		kong.Name("klingbench"),
		kong.Description("klingbench measures klingwatch on this machine; it starts its own Postgres, relay and receivers."),
		kong.Writers(out, errOut),
		kong.Exit(func(code int) { exit = code }),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(&figures.Console{Out: out, Err: errOut}, checks.Measure(measureQuickly)),
	)
	if err != nil {
		return fail(errOut, err)
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	command, err := parser.Parse(args)
	if exit >= 0 {
		return exit // --help
	}
	if err != nil {
		fmt.Fprintf(errOut, "klingbench: %s; try klingbench --help\n", err)
		return exitUsage
	}
	err = command.Run()
	if ctx.Err() != nil {
		err = context.Canceled
	}
	return fail(errOut, err)
}

// measureQuickly runs a command as check needs it: without the disk, whose speed says
// nothing about us.
func measureQuickly(args ...string) (d figures.Document, err error) {
	var out, errOut bytes.Buffer
	if run(append(args, "--quick", "--json", "--fsync=off"), &out, &errOut) != exitOK {
		return d, fmt.Errorf("running %s: %s", strings.Join(args, " "), strings.TrimPrefix(process.LastLine(errOut.String()), "klingbench: "))
	}
	return d, json.Unmarshal(out.Bytes(), &d)
}

// fail prints an error as one line and returns the exit code.
func fail(w io.Writer, err error) int {
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(w, "klingbench: stopped")
	default:
		fmt.Fprintln(w, "klingbench: "+strings.Join(strings.Fields(err.Error()), " "))
	}
	return exitError
}
