package deploy_test

import (
	"bufio"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/dotenv"
)

// systemd ignores names that it does not know, so that a misspelt one has no effect.
var systemdKeys = map[string]string{
	"Unit": "Description Wants After StartLimitIntervalSec",
	"Service": `Type DynamicUser EnvironmentFile ExecStartPre ExecStart TimeoutStartSec TimeoutStopSec Restart RestartSec LimitNOFILE
		StateDirectory Environment
		CapabilityBoundingSet LockPersonality MemoryDenyWriteExecute NoNewPrivileges PrivateDevices PrivateTmp ProtectClock ProtectControlGroups
		ProtectHome ProtectHostname ProtectKernelLogs ProtectKernelModules ProtectKernelTunables ProtectProc ProtectSystem RemoveIPC
		RestrictAddressFamilies RestrictNamespaces RestrictRealtime RestrictSUIDSGID SystemCallArchitectures SystemCallErrorNumber
		SystemCallFilter UMask`,
	"Install": "WantedBy",
}

func TestTheSystemdUnitRunsTheServiceWithoutPrivileges(t *testing.T) {
	t.Parallel()
	unit := systemdUnit(t, "systemd/klingwatch.service")
	for key, want := range map[string]string{
		"Service/DynamicUser":     "yes",
		"Service/NoNewPrivileges": "yes",
		"Service/ProtectSystem":   "strict",
		"Service/Restart":         "always",
		"Service/EnvironmentFile": "/etc/klingwatch/klingwatch.env",
		"Service/ExecStartPre":    "/usr/local/bin/klingwatch migrate",
		"Service/ExecStart":       "/usr/local/bin/klingwatch serve",
		"Install/WantedBy":        "multi-user.target",
	} {
		if got := strings.Join(unit[key], " "); got != want {
			t.Errorf("%s is %q, want %q", key, got, want)
		}
	}
	stop, err := time.ParseDuration(strings.Join(unit["Service/TimeoutStopSec"], ""))
	if err != nil || stop <= drain {
		t.Errorf("the service gets %s to stop (%v), it needs %s", stop, err, drain)
	}
	env, err := dotenv.Parse(strings.NewReader(strings.ReplaceAll(read(t, "systemd/klingwatch.env"), "\n#KLING", "\nKLING")))
	if err != nil {
		t.Fatal(err)
	}
	checkSettings(t, "klingwatch.env", maps.Keys(env))
	for _, needed := range []string{"DATABASE_URL", "KLING_BASE_URL", "KLING_API_KEY"} {
		if _, ok := env[needed]; !ok {
			t.Errorf("klingwatch.env does not mention %s", needed)
		}
	}
}

// systemdUnit reads the values of a unit by section/key.
func systemdUnit(t *testing.T, name string) map[string][]string {
	t.Helper()
	unit, section := map[string][]string{}, ""
	lines := bufio.NewScanner(strings.NewReader(read(t, name)))
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		key, value, pair := strings.Cut(line, "=")
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, "["):
			section = strings.Trim(line, "[]")
		case !pair || !slices.Contains(strings.Fields(systemdKeys[section]), key):
			t.Errorf("%s: %q in the section %q is not in systemdKeys: correct it, or add it there", name, line, section)
		default:
			unit[section+"/"+key] = append(unit[section+"/"+key], value)
		}
	}
	return unit
}
