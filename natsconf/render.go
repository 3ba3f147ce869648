package natsconf

import (
	"fmt"
	"slices"
	"strings"

	"github.com/nats-io/nats-server/v2/server"
)

const redacted = "(redacted)"

// Render writes what Start would run with, in the form of a nats.conf, for people to read. It opens
// nothing. Passwords are redacted, and the in-process ones do not exist yet.
func Render(c Config) (string, error) {
	c = c.withDefaults()
	if err := c.validate(); err != nil {
		return "", err
	}
	o, err := newOptions(c, newCredentials())
	if err != nil {
		return "", err
	}
	r := &renderer{}
	r.server(o, c)
	r.extras(o)
	r.cluster(o)
	r.accounts(o, c)
	return r.text.String(), nil
}

// renderer indents by block.
type renderer struct {
	text  strings.Builder
	depth int
}

func (r *renderer) line(format string, args ...any) {
	r.text.WriteString(strings.Repeat("  ", r.depth))
	fmt.Fprintf(&r.text, format, args...)
	r.text.WriteByte('\n')
}

func (r *renderer) block(name string, content func()) {
	r.line("%s {", name)
	r.depth++
	content()
	r.depth--
	r.line("}")
}

func (r *renderer) list(name string, values []string) {
	quoted := make([]string, len(values))
	for i, value := range values {
		quoted[i] = fmt.Sprintf("%q", value)
	}
	r.line("%s: [%s]", name, strings.Join(quoted, ", "))
}

func (r *renderer) server(o *server.Options, c Config) {
	if c.OperatorFile != "" {
		r.line("# merged below Outrigger's settings: %s", c.OperatorFile)
	}
	r.line("server_name: %q", o.ServerName)
	r.line("listen: %q", c.ClientListen)
	r.line("max_payload: %d", o.MaxPayload)
	r.line("max_pending: %d", o.MaxPending)
	r.line("write_deadline: %q", o.WriteDeadline)
	r.line("system_account: %s", o.SystemAccount)
	r.line("# jetstream is off, signals are left to the broker, logs go through the broker's")
}

// extras are what only an operator's file can have set.
func (r *renderer) extras(o *server.Options) {
	numbers := []struct {
		name  string
		value int
	}{
		{"http_port", o.HTTPPort}, {"https_port", o.HTTPSPort}, {"max_connections", o.MaxConn},
		{"prof_port", o.ProfPort}, {"ping_max", o.MaxPingsOut},
	}
	for _, n := range numbers {
		if n.value != 0 {
			r.line("%s: %d", n.name, n.value)
		}
	}
	if o.HTTPHost != "" {
		r.line("# monitoring listens on host %q", o.HTTPHost)
	}
	if o.PingInterval != 0 {
		r.line("ping_interval: %q", o.PingInterval)
	}
	if o.PidFile != "" {
		r.line("pid_file: %q", o.PidFile)
	}
	r.flag("debug", o.Debug)
	r.flag("trace", o.Trace)
	if len(o.Tags) > 0 {
		r.list("server_tags", o.Tags)
	}
	r.note("tls", o.TLSConfig != nil)
	r.note("leafnodes", o.LeafNode.Port != 0 || len(o.LeafNode.Remotes) > 0)
	r.note("websocket", o.Websocket.Port != 0)
	r.note("mqtt", o.MQTT.Port != 0)
}

func (r *renderer) flag(name string, on bool) {
	if on {
		r.line("%s: true", name)
	}
}

// note points to the operator's file for what is too deep to repeat, or secret.
func (r *renderer) note(name string, set bool) {
	if set {
		r.line("# %s: as in the merged file", name)
	}
}

func (r *renderer) cluster(o *server.Options) {
	cluster := o.Cluster
	r.block("cluster", func() {
		r.line("name: %q", cluster.Name)
		r.line("listen: %q", listenText(cluster.Host, cluster.Port))
		if cluster.Username != "" {
			r.line("authorization { user: %q, password: %q }", cluster.Username, redacted)
		}
		routes := make([]string, len(o.Routes))
		for i, route := range o.Routes {
			routes[i] = "nats-route://" + route.Host
		}
		r.list("routes", routes)
		r.line("no_advertise: %t", cluster.NoAdvertise)
		r.line("connect_retries: %d", cluster.ConnectRetries)
		r.line("pool_size: %d", cluster.PoolSize)
		r.list("accounts", cluster.PinnedAccounts)
		r.line("ping_interval: %q", cluster.PingInterval)
		r.line("ping_max: %d", cluster.MaxPingsOut)
		r.line("write_deadline: %q", cluster.WriteDeadline)
		r.block("permissions", func() {
			r.permission("import", cluster.Permissions.Import)
			r.permission("export", cluster.Permissions.Export)
		})
		r.note("tls", cluster.TLSConfig != nil)
	})
}

func listenText(host string, port int) string {
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return fmt.Sprintf("%s:%d", host, port)
}

func (r *renderer) permission(name string, p *server.SubjectPermission) {
	if p == nil {
		return
	}
	r.block(name, func() {
		if len(p.Allow) > 0 {
			r.list("allow", p.Allow)
		}
		if len(p.Deny) > 0 {
			r.list("deny", p.Deny)
		}
	})
}

func (r *renderer) accounts(o *server.Options, c Config) {
	names := make([]string, len(o.Accounts))
	for i, account := range o.Accounts {
		names[i] = account.GetName()
	}
	slices.Sort(names)
	r.block("accounts", func() {
		for _, name := range names {
			r.block(name, func() { r.account(name, o, c) })
		}
	})
	for _, user := range o.Users {
		if user.Account == nil {
			r.line("# user %q of the merged file is in the server's global account", user.Username)
		}
	}
}

func (r *renderer) account(name string, o *server.Options, c Config) {
	if c.DebugTap == TapPayload {
		r.taps(name)
	}
	r.line("users: [")
	r.depth++
	for _, user := range o.Users {
		if user.Account != nil && user.Account.GetName() == name {
			r.user(user)
		}
	}
	for _, key := range o.Nkeys {
		if key.Account != nil && key.Account.GetName() == name {
			r.line("{ nkey: %q }", key.Nkey)
		}
	}
	r.depth--
	r.line("]")
}

func (r *renderer) taps(name string) {
	var imports []string
	for _, tap := range tappedSubjects {
		if name == tap.account {
			r.line("exports: [ { stream: %q, accounts: [%s] } ]", tap.subject, AccountOps)
		}
		imports = append(imports, fmt.Sprintf("{ stream: { account: %s, subject: %q } }", tap.account, tap.subject))
	}
	if name == AccountOps {
		r.line("imports: [ %s ]", strings.Join(imports, ", "))
	}
}

func (r *renderer) user(user *server.User) {
	r.line("{")
	r.depth++
	r.line("user: %q, password: %q", user.Username, redacted)
	if len(user.AllowedConnectionTypes) > 0 {
		types := make([]string, 0, len(user.AllowedConnectionTypes))
		for t := range user.AllowedConnectionTypes {
			types = append(types, t)
		}
		slices.Sort(types)
		r.list("allowed_connection_types", types)
	}
	if p := user.Permissions; p != nil {
		r.block("permissions", func() {
			r.permission("publish", p.Publish)
			r.permission("subscribe", p.Subscribe)
		})
	}
	r.depth--
	r.line("}")
}
