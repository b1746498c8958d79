// Command klingwatch follows generation tasks at Kling relays to their end.
//
// It is the only place that reads the environment and knows all the packages.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"reflect"
	"regexp"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
	kongcompletion "github.com/jotaen/kong-completion"
	"github.com/posener/complete"
	"golang.org/x/term"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/operate"
	"github.com/klingwatch/klingwatch/outbound"
	"github.com/klingwatch/klingwatch/readable"
	"github.com/klingwatch/klingwatch/webhook"
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// Exit codes.
const (
	exitOK    = 0
	exitError = 1 // it went wrong, or an answer is "no"
	exitUsage = 2 // the command line is not understood
)

// commands is the command line.
type commands struct {
	Serve       serveCommand       `cmd:"" help:"Poll tasks and deliver webhooks until stopped."`
	Dev         devCommand         `cmd:"" help:"See it run: Postgres, a simulated relay, the service, a webhook receiver and sample tasks."`
	Sim         simCommand         `cmd:"" help:"Run a simulated relay."`
	Migrate     migrateCommand     `cmd:"" help:"Bring the database schema up to date."`
	SQL         sqlCommand         `cmd:"" name:"sql" help:"Open psql on the database, or run statements."`
	Track       trackCommand       `cmd:"" may:"klingwatch_producer" help:"Track tasks by their ids."`
	List        listCommand        `cmd:"" may:"klingwatch_reader or klingwatch_operator" help:"List tasks, newest first."`
	Show        showCommand        `cmd:"" may:"klingwatch_reader or klingwatch_operator" help:"Show everything about a task."`
	Retry       retryCommand       `cmd:"" may:"klingwatch_operator" help:"Ask the relay again about a task that has ended, or about many."`
	Cancel      cancelCommand      `cmd:"" may:"klingwatch_operator" help:"Stop tracking a task, or many."`
	Outputs     outputsCommand     `cmd:"" help:"List the files of tasks, keep them, copy those that are kept, and make links to them."`
	Relays      relaysCommand      `cmd:"" help:"Manage relays: where tasks are asked about, and with which key."`
	Endpoints   endpointsCommand   `cmd:"" help:"Manage endpoints: receivers of every task's events."`
	Deliveries  deliveriesCommand  `cmd:"" help:"List, inspect and resend webhooks."`
	Bulk        bulkCommand        `cmd:"" help:"Watch and stop what is done to many tasks or deliveries."`
	Keys        keysCommand        `cmd:"" help:"Show and rotate the secrets that sign webhooks."`
	APIKeys     apiKeysCommand     `cmd:"" name:"api-keys" help:"Make, list and revoke keys of the HTTP API."`
	Doctor      doctorCommand      `cmd:"" help:"Check settings, database, relay, key, services and webhooks; change nothing."`
	Healthcheck healthcheckCommand `cmd:"" help:"Check that a running service is ready; exit code 0 if it is."`
	Version     versionCommand     `cmd:"" help:"Print the version."`
	Completion  completionCommand  `cmd:"" help:"Show how to switch on completion in bash, zsh or fish."`
	Settings    settingsCommand    `cmd:"" hidden:"" help:"Print docs/settings.md."`

	VersionFlag kong.VersionFlag `name:"version" help:"Print the version and stop."`
}

// completionCommand prints what a shell's start file needs.
type completionCommand = kongcompletion.Completion

// console is where a command reads and writes.
type console struct {
	in       io.Reader
	out, err io.Writer
	may      string // who may use the command, besides the owner of the tables; "": nobody
}

// terminal tells whether w is a person's terminal.
func terminal(w any) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// quietError ends a command with code 1 without another word.
type quietError struct{}

func (quietError) Error() string { return "" }

func run(args []string, in io.Reader, out, errOut io.Writer) int {
	// The first signal stops gracefully; from then on a second one stops at once. One that
	// comes when all is done does not change how the process ends.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)

	exit, c := -1, &console{in: in, out: out, err: errOut}
	parser, err := kong.New(&commands{},
		kong.Name("klingwatch"),
		kong.Description("klingwatch follows generation tasks at Kling relays until they end.\n\nSettings come from the environment; docs/settings.md lists them. To see it run: klingwatch dev"),
		kong.Writers(out, errOut),
		kong.Exit(func(code int) { exit = code }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.TypeMapper(reflect.TypeFor[time.Duration](), kong.MapperFunc(decodeDuration)),
		kong.Bind(c),
		kong.Vars{"version": versionLine()},
	)
	if err != nil {
		return fail(errOut, err)
	}
	// does nothing unless a shell asks how a line can go on
	kongcompletion.Register(parser,
		kongcompletion.WithPredictor("status", complete.PredictSet(db.Statuses...)),
		kongcompletion.WithPredictor("callback-event", complete.PredictSet(webhook.CallbackTypes...)),
		kongcompletion.WithPredictor("state", complete.PredictSet(db.DeliveryStates...)),
		kongcompletion.WithPredictor("file-state", complete.PredictSet(fileStates...)),
		kongcompletion.WithPredictor("event", complete.PredictSet(append([]string{"all"}, webhook.Types...)...)))
	if exit >= 0 {
		return exit
	}
	command, err := parser.Parse(asMeant(args))
	if exit >= 0 {
		return exit // --help, --version
	}
	if err != nil {
		fmt.Fprintf(errOut, "klingwatch: %s; try klingwatch --help\n", err)
		return exitUsage
	}
	c.may = command.Selected().Tag.Get("may")
	return fail(errOut, command.Run())
}

// negative matches a value that looks like a flag.
var negative = regexp.MustCompile(`^-[0-9.]`)

// asMeant are the arguments as the parser takes them: help is --help, and what follows a
// flag and begins like a negative number is its value.
func asMeant(args []string) (meant []string) {
	if len(args) == 0 || args[0] == "help" {
		args = append(slices.Clone(args[min(len(args), 1):]), "--help")
	}
	for i, arg := range args {
		if i > 0 && negative.MatchString(arg) && strings.HasPrefix(args[i-1], "--") && len(args[i-1]) > 2 && !strings.Contains(args[i-1], "=") {
			meant[len(meant)-1] += "=" + arg
			continue
		}
		meant = append(meant, arg)
	}
	return meant
}

// decodeDuration reads a duration, of days as well.
func decodeDuration(ctx *kong.DecodeContext, target reflect.Value) error {
	var text string
	if err := ctx.Scan.PopValueInto("duration", &text); err != nil {
		return err
	}
	d, err := readable.ParseDuration(text)
	if err != nil {
		return fmt.Errorf("%q is not a duration like 30s, 2h or 7d", text)
	}
	target.Set(reflect.ValueOf(d))
	return nil
}

// fail prints an error as one line and returns the exit code.
func fail(w io.Writer, err error) int {
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, quietError{}):
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(w, "klingwatch: stopped")
	default:
		fmt.Fprintln(w, "klingwatch: "+outbound.Line(asFlag(err).Error()))
	}
	return exitError
}

// asFlag names the field of a refused input as the flag that it came from.
func asFlag(err error) error {
	refused, ok := errors.AsType[*operate.Error](err)
	if !ok || refused.Field == "" {
		return err
	}
	named := *refused
	named.Field = "--" + strings.ReplaceAll(named.Field, "_", "-")
	return &named
}

// release is set at build time: -ldflags "-X main.release=v1.2.3".
var release string

// version is the release, else what the Go toolchain recorded.
func version() string {
	if release != "" {
		return release
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}

// userAgent is how klingwatch introduces itself to relays and receivers.
func userAgent() string { return "klingwatch/" + version() }

type versionCommand struct{}

func (versionCommand) Run(c *console) error {
	_, err := fmt.Fprintln(c.out, versionLine())
	return err
}

func versionLine() string {
	return fmt.Sprintf("klingwatch %s %s %s/%s", version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
