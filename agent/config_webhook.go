package agent

import (
	"crypto/tls"
	"net/url"
	"slices"
	"strings"
)

// checkWebhook sees to it that a webhook that is switched on can work. What is set about one that
// is off, right or wrong, is of no account: a file of Teleport's own plugin may have it, and a
// chart may set all of it but the switch.
func (l *loader) checkWebhook() {
	w := &l.cfg.Webhook
	if !w.Enabled && !l.hasProblem("WEBHOOK_ENABLED") {
		l.problems = slices.DeleteFunc(l.problems, func(p Problem) bool { return strings.HasPrefix(p.Variable, "WEBHOOK_") })
		if l.http != "" {
			l.warnings = append(l.warnings, "[http] in "+l.http+" is ignored: the webhook is off, and WEBHOOK_ENABLED=true "+
				"switches it on")
		}
		return
	}
	for _, name := range l.httpIgnored {
		l.warnings = append(l.warnings, name+" is ignored: webhooks always come over TLS and are known by their signature "+
			"(WEBHOOK_SECRET)")
	}
	l.complain("WEBHOOK_LISTEN_ADDR", listenAddr(w.ListenAddr))
	l.complain("WEBHOOK_PUBLIC_ADDR", publicAddr(w.PublicAddr))
	l.complainOfFile("WEBHOOK_TLS_CERT_FILE", w.TLSCertFile, readable)
	l.complainOfFile("WEBHOOK_TLS_KEY_FILE", w.TLSKeyFile, readable)
	if !w.Enabled {
		return // whether it was meant to be on is not known
	}
	for _, required := range []struct {
		name  string
		unset bool
	}{
		{"WEBHOOK_TLS_CERT_FILE", w.TLSCertFile == ""},
		{"WEBHOOK_TLS_KEY_FILE", w.TLSKeyFile == ""},
		{"WEBHOOK_SECRET", w.Secret.IsZero() && !l.hasProblem("WEBHOOK_SECRET"+fileSuffix)},
	} {
		if required.unset {
			l.complainMissing(
				required.name,
				"is missing, and WEBHOOK_ENABLED is true"+l.unknownNeighbours(l.setting(required.name)),
			)
		}
	}
	if l.elsewhere || l.hasProblem("WEBHOOK_TLS_CERT_FILE") || l.hasProblem("WEBHOOK_TLS_KEY_FILE") {
		return
	}
	if _, err := tls.LoadX509KeyPair(w.TLSCertFile, w.TLSKeyFile); err != nil {
		l.complain("WEBHOOK_TLS_CERT_FILE", "is no certificate for the key in WEBHOOK_TLS_KEY_FILE: "+err.Error())
	}
}

// publicAddr takes an address as people write it: an https URL, host:port, or a host alone. It is
// shown and never dialled.
func publicAddr(addr string) string {
	if addr == "" {
		return ""
	}
	text := addr
	if !strings.Contains(addr, "://") {
		text = "https://" + addr
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" ||
		u.Port() != "" && !isPort(u.Port(), 1) {
		return "must be an https:// URL or host:port, is " + quote(addr)
	}
	return ""
}
