package deploy_test

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/dotenv"
	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
)

// Settings that docker-compose.yml does not pass to the worker, and why.
var notInCompose = map[string]string{
	"KLINGWATCH_DATA_DIR":         "the image sets it",
	"KLINGWATCH_POSTGRES_BIN_DIR": "the container uses the Postgres beside it, not an embedded one",
	"KLINGWATCH_HOSTS":            "the container does not listen on a loopback address",
	"KLING_API_KEY_FILE":          "the file would have to be mounted; the key comes from .env",
}

func TestComposeProfilesStartTheirServices(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		profiles []string
		want     []string
	}{
		{nil, []string{"migrate", "postgres", "worker"}},
		{[]string{"sim"}, []string{"migrate", "postgres", "sim", "worker"}},
	} {
		project := loadCompose(t, test.profiles...)
		if got := slices.Sorted(maps.Keys(project.Services)); !slices.Equal(got, test.want) {
			t.Errorf("profiles %v start %v, want %v", test.profiles, got, test.want)
		}
	}
}

func TestComposeStartsServicesInOrder(t *testing.T) {
	t.Parallel()
	project := loadCompose(t, "sim")
	for _, test := range []struct {
		service, on, condition string
		required               bool
	}{
		{"migrate", "postgres", types.ServiceConditionHealthy, true},
		{"worker", "postgres", types.ServiceConditionHealthy, true},
		{"worker", "migrate", types.ServiceConditionCompletedSuccessfully, true},
		{"worker", "sim", types.ServiceConditionStarted, false}, // it exists only with its profile
	} {
		got, ok := project.Services[test.service].DependsOn[test.on]
		if !ok || got.Condition != test.condition || got.Required != test.required {
			t.Errorf("%s waits for %s with %q, required %v; want %q, %v", test.service, test.on, got.Condition, got.Required, test.condition, test.required)
		}
	}
}

func TestComposeRunsOnItsOwn(t *testing.T) {
	t.Parallel()
	project := loadCompose(t, "sim")
	restart := map[string]string{"postgres": "unless-stopped", "worker": "unless-stopped", "sim": "unless-stopped", "migrate": "no"}
	for name, service := range project.Services {
		if service.Restart != restart[name] {
			t.Errorf("%s: restart is %q, want %q", name, service.Restart, restart[name])
		}
		for _, port := range service.Ports {
			if port.HostIP != "127.0.0.1" {
				t.Errorf("%s: port %s is published on %q: begin it with 127.0.0.1, nothing here has authentication", name, port.Published, port.HostIP)
			}
		}
	}
	for name, command := range map[string][]string{"migrate": {"migrate"}, "worker": {"serve"}} {
		if got := []string(project.Services[name].Command); !slices.Equal(got, command) {
			t.Errorf("%s runs %q, want %q", name, got, command)
		}
	}
	for name, check := range map[string]string{"postgres": "CMD pg_isready", "worker": "CMD klingwatch healthcheck"} {
		health := project.Services[name].HealthCheck
		if health == nil || !strings.HasPrefix(strings.Join(health.Test, " "), check) || health.Interval == nil || health.Timeout == nil {
			t.Errorf("%s: the health check must be %q with interval and timeout, is %+v", name, check, health)
		}
	}
	for _, name := range []string{"migrate", "sim"} { // they would inherit the service's check from the image
		if health := project.Services[name].HealthCheck; health == nil || !health.Disable {
			t.Errorf("%s: disable the health check of the image", name)
		}
	}
	data := project.Services["postgres"].Volumes
	if len(data) != 1 || data[0].Type != types.VolumeTypeVolume || data[0].Target != "/var/lib/postgresql/data" {
		t.Errorf("postgres: its data belongs in a named volume, is in %+v", data)
	} else if _, declared := project.Volumes[data[0].Source]; !declared {
		t.Errorf("the volume %s is not declared", data[0].Source)
	}
}

func TestComposePassesEverySetting(t *testing.T) {
	t.Parallel()
	known := settingNames(t)
	project := loadCompose(t, "sim")
	for name, service := range project.Services {
		if name == "postgres" {
			continue
		}
		for variable := range service.Environment {
			if !slices.Contains(known, variable) && !strings.HasPrefix(variable, "AWS_") { // the usual names of credentials for S3
				t.Errorf("%s: %s is not a setting of klingwatch", name, variable)
			}
		}
	}
	worker := project.Services["worker"].Environment
	for _, setting := range known {
		_, passed := worker[setting]
		if _, excused := notInCompose[setting]; passed == excused {
			t.Errorf("%s: either pass it to the worker, or say in notInCompose why not", setting)
		}
	}
	for name, want := range map[string]string{
		"DATABASE_URL":           "postgres://klingwatch:secret0@postgres:5432/klingwatch",
		"KLINGWATCH_LISTEN_ADDR": "0.0.0.0:8080",
		"KLING_BASE_URL":         "http://sim:8090",
	} {
		if got := worker[name]; got == nil || *got != want {
			t.Errorf("%s is not %s", name, want)
		}
	}
}

// A service without limits could use up the machine and stop the others.
func TestComposeLimitsEveryService(t *testing.T) {
	t.Parallel()
	for name, service := range loadCompose(t, "sim").Services {
		if service.Deploy == nil || service.Deploy.Resources.Limits == nil || service.Deploy.Resources.Limits.MemoryBytes < 256<<20 {
			t.Errorf("%s: set a sufficient memory limit", name)
			continue
		}
		if cpus := service.Deploy.Resources.Limits.NanoCPUs; cpus > 1 {
			t.Errorf("%s: %v CPUs: a machine with fewer would refuse to start it", name, cpus)
		}
		if ours := service.Build != nil; ours && (!service.ReadOnly || !slices.Contains(service.CapDrop, "ALL")) {
			t.Errorf("%s: it writes files to a volume only, and needs no privilege", name)
		}
	}
}

// docker compose up --scale worker=2: a worker must have nothing that can exist only
// once.
func TestComposeScalesTheWorker(t *testing.T) {
	t.Parallel()
	worker := loadCompose(t).Services["worker"]
	if worker.ContainerName != "" || len(worker.Ports) != 1 {
		t.Fatalf("a name or a port of its own: %q, %+v", worker.ContainerName, worker.Ports)
	}
	port := worker.Ports[0]
	var first, last int
	if n, err := fmt.Sscanf(port.Published, "%d-%d", &first, &last); n != 2 || last-first < 1 || port.Target != 8080 {
		t.Errorf("the port %s (%v) of this machine is enough for only one worker: publish a range", port.Published, err)
	}
}

// Compose must refuse a missing secret, not start with an empty one.
func TestComposeRefusesWithoutSecrets(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"POSTGRES_PASSWORD", "KLING_BASE_URL"} {
		env := exampleEnv(t)
		delete(env, name)
		if _, err := tryCompose(env); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("without %s: %v", name, err)
		}
	}
	if strings.Contains(read(t, "../.env.example"), "\nPOSTGRES_PASSWORD=") {
		t.Error(".env.example must not contain a password, which people would keep")
	}
}

func TestExampleEnvExplainsEveryVariable(t *testing.T) {
	t.Parallel()
	var variables []string
	for _, match := range regexp.MustCompile(`\$\{([A-Z_]+)`).FindAllStringSubmatch(read(t, "../docker-compose.yml"), -1) {
		variables = append(variables, match[1])
	}
	worker := loadCompose(t).Services["worker"].Environment
	text := read(t, "../.env.example")
	for _, match := range regexp.MustCompile(`(?m)^#?([A-Z_]+)=`).FindAllStringSubmatch(text, -1) {
		_, passed := worker[match[1]]
		if !passed && !slices.Contains(variables, match[1]) {
			t.Errorf(".env.example names %s, which nothing in docker-compose.yml reads", match[1])
		}
	}
	for _, variable := range variables {
		if !strings.Contains(text, variable+"=") {
			t.Errorf("docker-compose.yml reads %s, which .env.example does not explain", variable)
		}
	}
}

// loadCompose reads docker-compose.yml as docker compose would, with the
// example as .env.
func loadCompose(t *testing.T, profiles ...string) *types.Project {
	t.Helper()
	project, err := tryCompose(exampleEnv(t), profiles...)
	if err != nil {
		t.Fatal(err)
	}
	return project
}

func tryCompose(env map[string]string, profiles ...string) (*types.Project, error) {
	return loader.LoadWithContext(context.Background(), types.ConfigDetails{
		WorkingDir:  "..",
		ConfigFiles: []types.ConfigFile{{Filename: "../docker-compose.yml"}},
		Environment: env,
	}, loader.WithProfiles(profiles), func(o *loader.Options) {
		o.SkipResolveEnvironment = true // keeps names without a value
	})
}

// exampleEnv is .env.example with a password.
func exampleEnv(t *testing.T) map[string]string {
	t.Helper()
	env, err := dotenv.Parse(strings.NewReader(read(t, "../.env.example")))
	if err != nil {
		t.Fatal(err)
	}
	env["POSTGRES_PASSWORD"] = "secret0"
	return env
}
