package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/kelseyhightower/envconfig"

	"github.com/klingwatch/klingwatch/archive"
	"github.com/klingwatch/klingwatch/keyring"
	"github.com/klingwatch/klingwatch/klingapi"
	"github.com/klingwatch/klingwatch/outbound"
	"github.com/klingwatch/klingwatch/readable"
	"github.com/klingwatch/klingwatch/webhook"
	"github.com/klingwatch/klingwatch/worker"
	"github.com/klingwatch/klingwatch/worker/fetch"
)

// minRetention of tasks is longer than any late verdict and its webhooks take.
const minRetention = 7 * 24 * time.Hour

// settings are the environment variables. The desc tags are the documentation:
// docs/settings.md is made of them.
type settings struct {
	DatabaseURL       string        `envconfig:"DATABASE_URL" desc:"Postgres to use; empty = the embedded one, which serve starts"`
	DataDir           string        `envconfig:"KLINGWATCH_DATA_DIR" desc:"where the embedded Postgres keeps its data, and KLINGWATCH_ARCHIVE=file: its files; empty = the user's data directory"`
	PostgresBinDir    string        `envconfig:"KLINGWATCH_POSTGRES_BIN_DIR" desc:"directory with initdb and postgres for the embedded one; empty = search for installed ones, else download them once"`
	BaseURL           string        `envconfig:"KLING_BASE_URL" desc:"scheme and host of the relay; required by serve"`
	PathPrefix        string        `envconfig:"KLING_PATH_PREFIX" default:"/kling/v1" desc:"path in front of /{action}/{action2}/{task_id}; /v1 for Kling itself"`
	TaskPath          string        `envconfig:"KLING_TASK_PATH" desc:"template of the path of a task, instead of the prefix: {action}, {action2} and {task_id}, or {task_ids} where the relay takes several ids at once, like /tasks?task_ids={task_ids}"`
	APIKey            string        `envconfig:"KLING_API_KEY" desc:"bearer key; serve requires this, KLING_API_KEY_FILE, or KLING_ACCESS_KEY with KLING_SECRET_KEY"`
	APIKeyFile        string        `envconfig:"KLING_API_KEY_FILE" desc:"file with the bearer key; read again when it changes"`
	AccessKey         string        `envconfig:"KLING_ACCESS_KEY" desc:"access key of Kling's own JWT authentication, instead of a bearer key"`
	SecretKey         string        `envconfig:"KLING_SECRET_KEY" desc:"secret key that belongs to KLING_ACCESS_KEY"`
	ListenAddr        string        `envconfig:"KLINGWATCH_LISTEN_ADDR" default:"127.0.0.1:8080" desc:"address of the HTTP server for health and metrics; port 0 picks a free port, which the log shows"`
	Hosts             string        `envconfig:"KLINGWATCH_HOSTS" desc:"names under which a proxy on the same machine passes requests on, comma separated; others than the machine's own are refused on a loopback address"`
	CORSOrigins       string        `envconfig:"KLINGWATCH_CORS_ORIGINS" desc:"origins of web pages that may call the HTTP API, comma separated, like https://app.example; empty = none"`
	APIRate           float64       `envconfig:"KLINGWATCH_API_RATE" default:"100" desc:"most requests per second of one API key to one process, twice as many at once; 0 = no limit"`
	PollInterval      time.Duration `envconfig:"KLINGWATCH_POLL_INTERVAL" default:"5s" desc:"wait between two polls of one task; jittered, and adapted once enough tasks of its kind have ended"`
	PollRate          float64       `envconfig:"KLINGWATCH_POLL_RATE" default:"50" desc:"most requests per second to the relay; all processes of the deployment share it"`
	PollTimeout       time.Duration `envconfig:"KLINGWATCH_POLL_TIMEOUT" default:"15s" desc:"time limit of one request to the relay, body included"`
	TaskDeadline      time.Duration `envconfig:"KLINGWATCH_TASK_DEADLINE" default:"26h" desc:"age at which an unfinished task becomes expired; longer than the 24 hours after which relays give up"`
	WebhookTimeout    time.Duration `envconfig:"KLINGWATCH_WEBHOOK_TIMEOUT" default:"20s" desc:"time limit of one webhook request, body included; at most 5m"`
	AllowNetworks     string        `envconfig:"KLINGWATCH_WEBHOOK_ALLOW_NETWORKS" desc:"CIDRs of private networks that webhooks may reach, comma separated"`
	EncryptionKey     string        `envconfig:"KLINGWATCH_ENCRYPTION_KEY" desc:"encrypts the stored signing secrets: base64 of 32 random bytes; old keys may follow after commas and only decrypt"`
	Retention         time.Duration `envconfig:"KLINGWATCH_RETENTION" default:"0" desc:"how long finished tasks are kept, with their outputs, events and deliveries; at least 168h, 0 = for ever; reports keep their days"`
	Archive           string        `envconfig:"KLINGWATCH_ARCHIVE" desc:"where the files of tasks are kept: empty = nowhere, file: = in the data directory, file:/a/path, or s3://bucket/prefix?endpoint=https://host&region=name&path_style=true; see archive.md"`
	ArchiveNetworks   string        `envconfig:"KLINGWATCH_ARCHIVE_ALLOW_NETWORKS" desc:"CIDRs of private networks that files may be fetched from, comma separated"`
	ArchiveMaxSize    string        `envconfig:"KLINGWATCH_ARCHIVE_MAX_SIZE" default:"1GiB" desc:"largest file that is kept, like 500MB or 2GiB"`
	ArchiveRetention  time.Duration `envconfig:"KLINGWATCH_ARCHIVE_RETENTION" default:"0" desc:"how long files are kept; 0 = as long as their tasks"`
	PublicURL         string        `envconfig:"KLINGWATCH_PUBLIC_URL" desc:"where others reach this deployment, like https://klingwatch.example; begins the links to kept files"`
	DeliveryRetention time.Duration `envconfig:"KLINGWATCH_DELIVERY_RETENTION" default:"720h" desc:"how long finished deliveries are kept, with their attempts; 0 = for ever"`
	LogLevel          string        `envconfig:"KLINGWATCH_LOG_LEVEL" default:"info" desc:"debug, info, warn or error"`
	LogFormat         string        `envconfig:"KLINGWATCH_LOG_FORMAT" desc:"json or text; empty = text on a terminal, else json"`
}

// fieldOf returns the struct field of each setting, in order.
func settingFields() []reflect.StructField {
	t := reflect.TypeFor[settings]()
	fields := make([]reflect.StructField, t.NumField())
	for i := range fields {
		fields[i] = t.Field(i)
	}
	return fields
}

// loadSettings reads the environment. Its errors are one line, name the
// variable and never show a secret.
func loadSettings() (settings, error) {
	var s settings
	if err := checkNames(os.Environ()); err != nil {
		return s, err
	}
	// An empty variable means unset: compose files and shells make them easily,
	// and envconfig would take "" for a value.
	for _, field := range settingFields() {
		name := field.Tag.Get("envconfig")
		value, set := os.LookupEnv(name)
		if set && strings.TrimSpace(value) == "" {
			_ = os.Unsetenv(name)
		}
		if d, err := readable.ParseDuration(value); err == nil && field.Type == reflect.TypeFor[time.Duration]() {
			_ = os.Setenv(name, d.String()) // envconfig knows no days
		}
	}
	if err := envconfig.Process("", &s); err != nil {
		var parse *envconfig.ParseError
		if errors.As(err, &parse) {
			return s, fmt.Errorf("%s: %q is not a %s", parse.KeyName, parse.Value, formOf(parse.TypeName))
		}
		return s, err
	}
	return s, s.check()
}

func formOf(typeName string) string {
	if typeName == "time.Duration" {
		return "duration like 5s, 2m30s, 24h or 7d"
	}
	return "number like 50"
}

// checkNames refuses KLINGWATCH_ variables that nobody reads: a misspelt name
// would silently leave the default in force.
func checkNames(environ []string) error {
	var known []string
	for _, field := range settingFields() {
		known = append(known, field.Tag.Get("envconfig"))
	}
	for _, entry := range environ {
		name, _, _ := strings.Cut(entry, "=")
		if !strings.HasPrefix(name, "KLINGWATCH_") || slices.Contains(known, name) {
			continue
		}
		closest := slices.MinFunc(known, func(a, b string) int { return distance(a, name) - distance(b, name) })
		return fmt.Errorf("%s is not a setting of klingwatch; did you mean %s?", name, closest)
	}
	return nil
}

// distance counts the edits between two names (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}

// listed returns the parts of a comma separated value.
func listed(value string) (parts []string) {
	for part := range strings.SplitSeq(value, ",") {
		if part = strings.TrimSpace(part); part != "" {
			parts = append(parts, part)
		}
	}
	return parts
}

// checkOrigins refuses what no browser sends as an origin.
func checkOrigins(origins []string) error {
	for _, origin := range origins {
		u, err := url.Parse(origin)
		if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || strings.Contains(u.Host, "*") || u.Scheme+"://"+u.Host != origin {
			return fmt.Errorf("KLINGWATCH_CORS_ORIGINS: %q is not an origin like https://app.example", origin)
		}
	}
	return nil
}

// check refuses values that contradict each other or can't work.
func (s settings) check() error {
	for _, d := range []struct {
		name  string
		value time.Duration
	}{
		{"KLINGWATCH_POLL_INTERVAL", s.PollInterval},
		{"KLINGWATCH_POLL_TIMEOUT", s.PollTimeout},
		{"KLINGWATCH_TASK_DEADLINE", s.TaskDeadline},
		{"KLINGWATCH_WEBHOOK_TIMEOUT", s.WebhookTimeout},
	} {
		if d.value <= 0 {
			return fmt.Errorf("%s must be more than 0, not %s", d.name, d.value)
		}
	}
	if !(s.PollRate > 0 && s.PollRate <= 1e6) {
		return fmt.Errorf("KLINGWATCH_POLL_RATE must be more than 0 and at most a million, not %v", s.PollRate)
	}
	if !(s.APIRate >= 0 && s.APIRate <= 1e6) {
		return fmt.Errorf("KLINGWATCH_API_RATE must be 0, which sets no limit, or more, at most a million, not %v", s.APIRate)
	}
	if err := checkOrigins(listed(s.CORSOrigins)); err != nil {
		return err
	}
	if s.WebhookTimeout > worker.MaxWebhookTimeout {
		return fmt.Errorf("KLINGWATCH_WEBHOOK_TIMEOUT must be at most %s, not %s: the job of a delivery is given up soon after, and a request that outlives it is sent twice", worker.MaxWebhookTimeout, s.WebhookTimeout)
	}
	if s.PollTimeout >= s.TaskDeadline {
		return fmt.Errorf("KLINGWATCH_POLL_TIMEOUT (%s) must be shorter than KLINGWATCH_TASK_DEADLINE (%s): a task could not be asked about in time", s.PollTimeout, s.TaskDeadline)
	}
	if s.DeliveryRetention < 0 {
		return fmt.Errorf("KLINGWATCH_DELIVERY_RETENTION must not be negative, it is %s; 0 keeps everything", s.DeliveryRetention)
	}
	if s.Retention != 0 && s.Retention < minRetention {
		return fmt.Errorf("KLINGWATCH_RETENTION must be 0, which keeps everything, or at least %s, not %s: expired tasks are asked again for days", minRetention, s.Retention)
	}
	if err := s.checkArchive(); err != nil {
		return err
	}
	if _, err := keyring.Parse(s.EncryptionKey); err != nil {
		return fmt.Errorf("KLINGWATCH_ENCRYPTION_KEY: %w", err)
	}
	if s.TaskPath != "" && s.PathPrefix != klingapi.DefaultPathPrefix {
		return errors.New("KLING_TASK_PATH and KLING_PATH_PREFIX are both set: keep one")
	}
	if s.TaskPath != "" {
		if err := klingapi.CheckTaskPath(s.TaskPath); err != nil {
			return fmt.Errorf("KLING_TASK_PATH: %w", err)
		}
	}
	for _, key := range [][2]string{{"KLING_API_KEY", s.APIKey}, {"KLING_ACCESS_KEY", s.AccessKey}, {"KLING_SECRET_KEY", s.SecretKey}} {
		if err := klingapi.CheckKey(strings.TrimSpace(key[1])); err != nil {
			return fmt.Errorf("%s: %w", key[0], err)
		}
	}
	if s.APIKey != "" && s.APIKeyFile != "" {
		return errors.New("KLING_API_KEY and KLING_API_KEY_FILE are both set: keep one")
	}
	if (s.AccessKey == "") != (s.SecretKey == "") {
		return errors.New("KLING_ACCESS_KEY and KLING_SECRET_KEY belong together: one of them is missing")
	}
	if s.AccessKey != "" && (s.APIKey != "" || s.APIKeyFile != "") {
		return errors.New("a bearer key and KLING_ACCESS_KEY are both set: keep one way of authentication")
	}
	if _, err := outbound.ParseNetworks(s.AllowNetworks); err != nil {
		return fmt.Errorf("KLINGWATCH_WEBHOOK_ALLOW_NETWORKS: %w", err)
	}
	if !slices.Contains([]string{"debug", "info", "warn", "error"}, strings.ToLower(s.LogLevel)) {
		return fmt.Errorf("KLINGWATCH_LOG_LEVEL must be debug, info, warn or error, not %q", s.LogLevel)
	}
	if !slices.Contains([]string{"", "json", "text"}, s.LogFormat) {
		return fmt.Errorf("KLINGWATCH_LOG_FORMAT must be json or text, not %q", s.LogFormat)
	}
	return nil
}

// checkArchive refuses what cannot be said about kept files. The place itself is checked
// when it is opened.
func (s settings) checkArchive() error {
	if _, err := outbound.ParseNetworks(s.ArchiveNetworks); err != nil {
		return fmt.Errorf("KLINGWATCH_ARCHIVE_ALLOW_NETWORKS: %w", err)
	}
	if size, err := readable.ParseBytes(s.ArchiveMaxSize); err != nil || size == 0 {
		return fmt.Errorf("KLINGWATCH_ARCHIVE_MAX_SIZE must be a size like 500MB or 2GiB, not %q", s.ArchiveMaxSize)
	}
	if s.ArchiveRetention < 0 {
		return fmt.Errorf("KLINGWATCH_ARCHIVE_RETENTION must not be negative, it is %s; 0 keeps files as long as their tasks", s.ArchiveRetention)
	}
	if s.PublicURL != "" {
		u, err := url.Parse(s.PublicURL)
		if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
			return errors.New("KLINGWATCH_PUBLIC_URL must be like https://klingwatch.example, without user, query and fragment")
		}
	}
	return nil
}

// publicURL is where others reach this deployment, without a slash at its end; "": unknown.
func (s settings) publicURL() string { return strings.TrimRight(s.PublicURL, "/") }

// store opens where files are kept; nil: nowhere.
func (s settings) store() (archive.Store, error) {
	if s.Archive == "" {
		return nil, nil
	}
	dir, err := s.dataDir()
	if err != nil {
		return nil, err
	}
	store, err := archive.Open(s.Archive, dir)
	if err != nil {
		return nil, fmt.Errorf("KLINGWATCH_ARCHIVE: %w", err)
	}
	return store, nil
}

// archive is how the worker keeps files in a store; nil: it keeps none.
func (s settings) archive(ctx context.Context, store archive.Store) *worker.Archive {
	if store == nil {
		return nil
	}
	networks, _ := outbound.ParseNetworks(s.ArchiveNetworks) // check has parsed them
	size, _ := readable.ParseBytes(s.ArchiveMaxSize)
	return &worker.Archive{
		Store: store, Tools: fetch.FindTools(ctx), PublicURL: s.publicURL(), Retention: s.ArchiveRetention,
		Client: fetch.New(fetch.Config{AllowNetworks: networks, MaxBytes: size, UserAgent: userAgent()}),
	}
}

// relay makes the client of the relay, or says which setting is missing.
func (s settings) relay() (*klingapi.Client, error) {
	if s.BaseURL == "" {
		return nil, errors.New("KLING_BASE_URL is not set: give the scheme and host of the relay, like https://relay.example")
	}
	credential, err := s.credential()
	if err != nil {
		return nil, err
	}
	client, err := klingapi.New(klingapi.Config{
		BaseURL: s.BaseURL, TaskPath: s.taskPath(), Credential: credential,
		Timeout: s.PollTimeout, UserAgent: userAgent(),
	})
	if err != nil {
		return nil, fmt.Errorf("KLING_BASE_URL, KLING_PATH_PREFIX or KLING_TASK_PATH: %w", err)
	}
	return client, nil
}

// taskPath is the template of the path of a task at the relay of the settings.
func (s settings) taskPath() string {
	if s.TaskPath != "" {
		return s.TaskPath
	}
	return klingapi.PathUnder(s.PathPrefix)
}

func (s settings) credential() (klingapi.Credential, error) {
	switch {
	case s.APIKey != "":
		return klingapi.StaticKey(strings.TrimSpace(s.APIKey)), nil
	case s.APIKeyFile != "":
		file, err := klingapi.NewKeyFile(s.APIKeyFile)
		if err != nil {
			return nil, fmt.Errorf("KLING_API_KEY_FILE: %w", err)
		}
		return file, nil
	case s.AccessKey != "":
		return klingapi.NewAccessKey(s.AccessKey, s.SecretKey)
	}
	return nil, errors.New("no key is set: give KLING_API_KEY, KLING_API_KEY_FILE, or KLING_ACCESS_KEY with KLING_SECRET_KEY")
}

func (s settings) webhooks() *webhook.Client {
	networks, _ := outbound.ParseNetworks(s.AllowNetworks) // check has parsed it
	return webhook.NewClient(webhook.Config{Timeout: s.WebhookTimeout, AllowNetworks: networks, UserAgent: userAgent()})
}

// keyring opens and seals the stored signing secrets.
func (s settings) keyring() *keyring.Keyring {
	keyring, _ := keyring.Parse(s.EncryptionKey) // check has parsed it
	return keyring
}

// settingsCommand prints docs/settings.md.
type settingsCommand struct{}

func (settingsCommand) Run(c *console) error {
	_, err := fmt.Fprint(c.out, settingsTable())
	return err
}

// settingsTable is docs/settings.md: an introduction and the table.
func settingsTable() string {
	var b strings.Builder
	b.WriteString("# Settings\n\n" +
		"klingwatch reads its settings from environment variables. An empty variable counts as unset; durations are written like\n" +
		"`500ms`, `5s`, `24h` or `7d`.\n\n" +
		"`serve` requires `KLING_BASE_URL` and a key: `KLING_API_KEY`, `KLING_API_KEY_FILE`, or `KLING_ACCESS_KEY` with\n" +
		"`KLING_SECRET_KEY`. A missing value, a misspelt `KLINGWATCH_` name and values that contradict each other stop the start\n" +
		"with one line that names the variable.\n\n" +
		"Tracing is set up with the standard `OTEL_` variables, see [operating.md](operating.md#traces). This page is generated\n" +
		"by `make generate`.\n\n" +
		"| name | default | meaning |\n|---|---|---|\n")
	for _, field := range settingFields() {
		value := field.Tag.Get("default")
		if value != "" {
			value = "`" + value + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", field.Tag.Get("envconfig"), value, field.Tag.Get("desc"))
	}
	return b.String()
}
