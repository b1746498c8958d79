package klingapi

import (
	"net/netip"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
)

// chooseFiles returns the files of the outermost node that names any itself: what a
// relay says outside may be its own link, which needs its key, to the file that is
// named inside. Where no node names a file, an envelope may, beside the record.
func chooseFiles(nodes []node, ref Ref, a evidence) files {
	ids := []string{ref.TaskID}
	for _, n := range nodes {
		ids = append(ids, idOf(n.object))
	}
	var proxied files
	for i, n := range nodes {
		own := searchFiles(n.object, ref)
		own.outputs = slices.DeleteFunc(own.outputs, func(o Output) bool { return isTaskLink(o.URL, ids, a.relay) })
		direct := slices.DeleteFunc(slices.Clone(own.outputs), func(o Output) bool { return isProxied(o.URL, ids, a.relay) })
		switch {
		case len(direct) > 0 || own.tooLarge > 0:
			own.outputs = withDetails(renumber(direct), nodes[i+1:], ref)
			return own
		case own.incomplete:
			proxied.incomplete = true
		case len(own.outputs) > 0 && len(proxied.outputs) == 0:
			proxied.outputs = own.outputs
		}
	}
	for _, o := range a.around {
		if beside := listedFiles(o, ref); len(beside.outputs) > 0 {
			return beside
		}
	}
	for i := range proxied.outputs {
		proxied.outputs[i].NeedsKey = true
	}
	return proxied
}

// withDetails adds to the only file of an outer node what an inner one knows of it:
// relays that copy a file give no more than the URL of the first.
func withDetails(outputs []Output, inner []node, ref Ref) []Output {
	if len(outputs) != 1 || outputs[0].UpstreamID != "" || outputs[0].DurationSeconds != "" {
		return outputs
	}
	for _, n := range inner {
		if same := findFiles(n.object, ref); len(same) > 0 && same[0].Kind == outputs[0].Kind {
			same[0].URL, same[0].ExpiresAt = outputs[0].URL, outputs[0].ExpiresAt
			return same
		}
	}
	return outputs
}

var proxyPath = regexp.MustCompile(`/v[0-9]+[a-z]*/(videos?|images?|audios?|tasks?|jobs?|files?|generations?|predictions?|video/generations)/([^/]+)/content/?$`)

// isProxied reports whether a URL is a relay's own link to the file, which needs the
// relay's key: new-api, relay/relay_task.go, /v1/videos/{task_id}/content.
func isProxied(raw string, ids []string, relay string) bool {
	u, err := url.Parse(raw)
	if err != nil {
		return false
	}
	match := proxyPath.FindStringSubmatch(u.Path)
	return match != nil && (slices.Contains(ids, match[2]) || strings.EqualFold(u.Host, relay) || !isPublic(u.Hostname()))
}

var versionPath = regexp.MustCompile(`/v[0-9]+[a-z]*/`)

// isTaskLink reports whether a URL is the relay's address of the task itself.
func isTaskLink(raw string, ids []string, relay string) bool {
	u, err := url.Parse(raw)
	return err == nil && strings.EqualFold(u.Host, relay) && versionPath.MatchString(u.Path) && slices.Contains(ids, path.Base(u.Path))
}

// isPublic reports whether a host can be one of the open internet.
func isPublic(host string) bool {
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.IsGlobalUnicast() && !addr.IsPrivate()
	}
	return strings.Contains(strings.TrimSuffix(host, "."), ".") && !strings.HasSuffix(host, ".local") && !strings.HasSuffix(host, ".internal")
}
