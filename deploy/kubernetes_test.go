package deploy_test

import (
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"sigs.k8s.io/yaml"
)

const kubernetes = "kubernetes/"

// manifest reads a file of kubernetes/. Names that Kubernetes does not know are
// errors.
func manifest[T any](t *testing.T, name string) T {
	t.Helper()
	var object T
	if err := yaml.UnmarshalStrict([]byte(read(t, kubernetes+name)), &object); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return object
}

func TestKubernetesListsEveryManifest(t *testing.T) {
	t.Parallel()
	k := manifest[struct {
		APIVersion, Kind, Namespace string
		Resources                   []string
		Labels                      []struct{ Pairs map[string]string }
		Images                      []struct{ Name, NewName, NewTag string }
	}](t, "kustomization.yaml")
	files, err := filepath.Glob(kubernetes + "*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		name := filepath.Base(file)
		// an example would overwrite what somebody has made of it
		listed, wanted := slices.Contains(k.Resources, name), name != "kustomization.yaml" && !strings.HasSuffix(name, ".example.yaml")
		if listed != wanted {
			t.Errorf("kustomization.yaml lists %s: %v, want %v", name, listed, wanted)
		}
		text := read(t, file)
		if wanted && (strings.Contains(text, "\n---") || strings.Contains(text, "namespace:")) {
			t.Errorf("%s: put one object into a file, and leave its namespace to kustomization.yaml", name)
		}
	}
	for _, name := range k.Resources {
		if _, err := os.Stat(kubernetes + name); err != nil {
			t.Error(err)
		}
	}
	worker := manifest[appsv1.Deployment](t, "worker.yaml")
	image, tag, _ := strings.Cut(worker.Spec.Template.Spec.Containers[0].Image, ":")
	if len(k.Images) != 1 || k.Images[0].Name != image || k.Images[0].NewTag != tag {
		t.Errorf("kustomization.yaml sets the images %v, the worker's is %s:%s", k.Images, image, tag)
	}
}

func TestKubernetesPodsNeedNoPrivilege(t *testing.T) {
	t.Parallel()
	compose := loadCompose(t).Services["worker"]
	for name, pod := range map[string]corev1.PodSpec{
		"worker.yaml":  manifest[appsv1.Deployment](t, "worker.yaml").Spec.Template.Spec,
		"migrate.yaml": manifest[batchv1.Job](t, "migrate.yaml").Spec.Template.Spec,
	} {
		checkPod(t, name, pod)
		if image := pod.Containers[0].Image; image != compose.Image {
			t.Errorf("%s: the image is %s, in docker-compose.yml %s", name, image, compose.Image)
		}
	}
}

func checkPod(t *testing.T, name string, pod corev1.PodSpec) {
	t.Helper()
	if pod.EnableServiceLinks == nil || *pod.EnableServiceLinks {
		t.Errorf("%s: enableServiceLinks must be false: KLINGWATCH_PORT and the like are no settings, and stop the start", name)
	}
	if pod.AutomountServiceAccountToken == nil || *pod.AutomountServiceAccountToken {
		t.Errorf("%s: it does not use the API of Kubernetes, so it needs no token", name)
	}
	security := pod.SecurityContext
	if security == nil || security.RunAsNonRoot == nil || !*security.RunAsNonRoot || security.RunAsUser == nil || *security.RunAsUser == 0 ||
		security.SeccompProfile == nil || security.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
		t.Errorf("%s: not a user without privileges: %+v", name, security)
	}
	if len(pod.Containers) != 1 {
		t.Fatalf("%s: %d containers", name, len(pod.Containers))
	}
	c := pod.Containers[0]
	checkPinned(t, name, c.Image)
	if s := c.SecurityContext; s == nil || s.ReadOnlyRootFilesystem == nil || !*s.ReadOnlyRootFilesystem ||
		s.AllowPrivilegeEscalation == nil || *s.AllowPrivilegeEscalation || s.Capabilities == nil || !slices.Equal(s.Capabilities.Drop, []corev1.Capability{"ALL"}) {
		t.Errorf("%s: the container has more rights than it needs: %+v", name, s)
	}
	for _, amount := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
		if q, ok := c.Resources.Requests[amount]; !ok || q.IsZero() {
			t.Errorf("%s: requests no %s", name, amount)
		}
	}
	if limit := c.Resources.Limits.Memory(); limit.Cmp(*c.Resources.Requests.Memory()) < 0 || limit.IsZero() {
		t.Errorf("%s: the memory limit is %s", name, limit)
	}
}

func TestKubernetesSettingsExistAndSecretsStaySecret(t *testing.T) {
	t.Parallel()
	config, secret := manifest[corev1.ConfigMap](t, "configmap.yaml"), manifest[corev1.Secret](t, "secret.example.yaml")
	for name, values := range map[string]map[string]string{"configmap.yaml": config.Data, "secret.example.yaml": secret.StringData} {
		checkSettings(t, name, maps.Keys(values))
	}
	for name := range config.Data {
		if _, both := secret.StringData[name]; both || regexp.MustCompile(`KEY|SECRET|DATABASE`).MatchString(name) {
			t.Errorf("configmap.yaml: %s belongs in the secret only", name)
		}
	}
	job := manifest[batchv1.Job](t, "migrate.yaml").Spec.Template.Spec.Containers[0]
	worker := manifest[appsv1.Deployment](t, "worker.yaml").Spec.Template.Spec.Containers[0]
	for who, container := range map[string]corev1.Container{"migrate.yaml": job, "worker.yaml": worker} {
		for _, from := range container.EnvFrom {
			if from.ConfigMapRef != nil && from.ConfigMapRef.Name != config.Name || from.SecretRef != nil && from.SecretRef.Name != secret.Name {
				t.Errorf("%s: the environment comes from an object that does not exist: %+v", who, from)
			}
		}
		if len(container.Env) > 0 {
			t.Errorf("%s: settings belong in configmap.yaml or the secret", who)
		}
	}
	if len(job.EnvFrom) != 1 || len(worker.EnvFrom) != 2 || !slices.Equal(job.Args, []string{"migrate"}) || !slices.Equal(worker.Args, []string{"serve"}) {
		t.Errorf("migrate needs the secret, serve both: %+v, %+v", job, worker)
	}
}

func TestKubernetesFindsTheWorkers(t *testing.T) {
	t.Parallel()
	worker, service := manifest[appsv1.Deployment](t, "worker.yaml").Spec, manifest[corev1.Service](t, "service.yaml")
	budget, job := manifest[policyv1.PodDisruptionBudget](t, "disruption.yaml").Spec, manifest[batchv1.Job](t, "migrate.yaml").Spec
	selectors := map[string]map[string]string{
		"worker.yaml": worker.Selector.MatchLabels, "service.yaml": service.Spec.Selector, "disruption.yaml": budget.Selector.MatchLabels,
		"topologySpreadConstraints": worker.Template.Spec.TopologySpreadConstraints[0].LabelSelector.MatchLabels,
	}
	for name, selector := range selectors {
		if !maps.Equal(selector, worker.Template.Labels) || maps.Equal(selector, job.Template.Labels) {
			t.Errorf("%s selects %v, not the workers alone", name, selector)
		}
	}
	if worker.Replicas == nil || *worker.Replicas < 2 || budget.MinAvailable.IntValue() >= int(*worker.Replicas) || budget.MinAvailable.IntValue() < 1 {
		t.Errorf("%v replicas, of which %v must stay: at least one must stay, and at least one be free to stop", worker.Replicas, budget.MinAvailable)
	}
	if grace := worker.Template.Spec.TerminationGracePeriodSeconds; grace == nil || time.Duration(*grace)*time.Second <= drain {
		t.Errorf("the workers have %v s to stop, but need %s", grace, drain)
	}
	container := worker.Template.Spec.Containers[0]
	port := container.Ports[0]
	_, listens, err := net.SplitHostPort(manifest[corev1.ConfigMap](t, "configmap.yaml").Data["KLINGWATCH_LISTEN_ADDR"])
	if err != nil || listens != strconv.Itoa(int(port.ContainerPort)) || service.Annotations["prometheus.io/port"] != listens {
		t.Errorf("the process listens on %q (%v), the port of the pod is %d, and Prometheus scrapes %s", listens, err, port.ContainerPort, service.Annotations["prometheus.io/port"])
	}
	served := servedPaths(t)
	for path, target := range map[string]string{
		container.LivenessProbe.HTTPGet.Path:      container.LivenessProbe.HTTPGet.Port.String(),
		container.ReadinessProbe.HTTPGet.Path:     container.ReadinessProbe.HTTPGet.Port.String(),
		service.Annotations["prometheus.io/path"]: service.Spec.Ports[0].TargetPort.String(),
	} {
		if !slices.Contains(served, path) || target != port.Name {
			t.Errorf("nothing serves %s on port %s; there are %v on %s", path, target, served, port.Name)
		}
	}
	if container.LivenessProbe.HTTPGet.Path != "/livez" || container.ReadinessProbe.HTTPGet.Path != "/readyz" {
		t.Error("liveness must be /livez: readiness depends on the database, which a restart does not repair")
	}
}

// The setting alone would open the whole cluster to every callback_url, so the policy
// must close what the setting opens, but for the receivers.
func TestKubernetesReceiversInTheClusterAreTheOnlyOnes(t *testing.T) {
	t.Parallel()
	policy := manifest[networkingv1.NetworkPolicy](t, "receivers.example.yaml").Spec
	workers := manifest[appsv1.Deployment](t, "worker.yaml").Spec.Template.Labels
	if !maps.Equal(policy.PodSelector.MatchLabels, workers) || !slices.Equal(policy.PolicyTypes, []networkingv1.PolicyType{networkingv1.PolicyTypeEgress}) {
		t.Errorf("the policy is not about what workers send: %+v", policy)
	}
	example := regexp.MustCompile(`(?m)^  #KLINGWATCH_WEBHOOK_ALLOW_NETWORKS: (\S+)$`).FindStringSubmatch(read(t, kubernetes+"configmap.yaml"))
	if example == nil {
		t.Fatal("configmap.yaml does not show KLINGWATCH_WEBHOOK_ALLOW_NETWORKS")
	}
	opened := netip.MustParsePrefix(example[1])
	database := regexp.MustCompile(`@[^:]+:(\d+)/`).FindStringSubmatch(manifest[corev1.Secret](t, "secret.example.yaml").StringData["DATABASE_URL"])[1]
	var receivers, names, closed, postgres bool
	for _, rule := range policy.Egress {
		to := rule.To[0]
		switch {
		case to.PodSelector != nil && len(rule.Ports) == 0:
			receivers = to.NamespaceSelector != nil && len(to.PodSelector.MatchLabels) == 1
		case to.PodSelector != nil:
			names = to.NamespaceSelector != nil && len(rule.Ports) == 2 && rule.Ports[0].Port.IntValue() == 53
		case len(rule.Ports) == 0:
			closed = slices.ContainsFunc(to.IPBlock.Except, func(cidr string) bool {
				network := netip.MustParsePrefix(cidr)
				return network.Contains(opened.Addr()) && network.Bits() <= opened.Bits()
			})
		default:
			postgres = rule.Ports[0].Port.String() == database && strings.HasSuffix(to.IPBlock.CIDR, "/32")
		}
	}
	if !receivers || !names || !closed || !postgres {
		t.Errorf("reaches labelled receivers %v, DNS %v, Postgres %v; keeps %s closed but for them %v", receivers, names, postgres, opened, closed)
	}
}
