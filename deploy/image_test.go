package deploy_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
)

func TestComposeImagesArePinned(t *testing.T) {
	t.Parallel()
	project := loadCompose(t, "sim")
	for name, service := range project.Services {
		checkPinned(t, "service "+name, service.Image)
		if service.Image == project.Services["worker"].Image && (service.Build == nil || service.PullPolicy != types.PullPolicyBuild) {
			t.Errorf("service %s: our image is built here, never pulled: give it build and pull_policy: build", name)
		}
	}
	for _, from := range regexp.MustCompile(`(?m)^FROM +(\S+)`).FindAllStringSubmatch(read(t, "../Dockerfile"), -1) {
		checkPinned(t, "Dockerfile", from[1])
	}
}

func TestComposeImagesFitTheModule(t *testing.T) {
	t.Parallel()
	goLine := regexp.MustCompile(`(?m)^go (1\.\d+).*$`)
	ours := goLine.FindStringSubmatch(read(t, "../go.mod"))
	line, version := ours[0], ours[1]
	if own := goLine.FindString(read(t, "go.mod")); own != line {
		t.Errorf("deploy/go.mod has the line %q, go.mod %q: both use the same toolchain", own, line)
	}
	if !strings.Contains(read(t, "../Dockerfile"), "FROM golang:"+version+".") {
		t.Errorf("go.mod asks for Go %s: build with golang:%s.x in the Dockerfile", version, version)
	}
}

func TestComposeDockerfileNeedsNoPrivilege(t *testing.T) {
	t.Parallel()
	_, image, _ := strings.Cut(read(t, "../Dockerfile"), "\nFROM debian")
	for what, pattern := range map[string]string{
		"a user by number, not root":                `(?m)^USER [1-9]\d*:[1-9]\d*$`,
		"a health check by the binary, not a shell": `(?m)^HEALTHCHECK .*CMD \["klingwatch", "healthcheck"\]$`,
		"the binary as entry point":                 `(?m)^ENTRYPOINT \["klingwatch"\]$`,
		"serve as the default command":              `(?m)^CMD \["serve"\]$`,
	} {
		if !regexp.MustCompile(pattern).MatchString(image) {
			t.Errorf("the Dockerfile lacks %s", what)
		}
	}
	if !strings.Contains(read(t, "../Dockerfile"), "RUN CGO_ENABLED=0 go build") {
		t.Error("the binary must be static: build it with CGO_ENABLED=0")
	}
}

// checkPinned fails unless the tag names one release, with at least two numbers.
func checkPinned(t *testing.T, who, image string) {
	t.Helper()
	if !regexp.MustCompile(`^[^:@]+:v?\d+\.\d+(\.\d+)?(-[\w.]+)?(@sha256:[0-9a-f]{64})?$`).MatchString(image) {
		t.Errorf("%s: the image %q is not pinned: give the exact version as its tag", who, image)
	}
}
