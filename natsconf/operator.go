package natsconf

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/nats-io/nats-server/v2/conf"
	"github.com/nats-io/nats-server/v2/server"
)

// refusedKeys may not appear at the top of an operator's file, each for its reason. Aliases of
// nats-server are listed beside the name that its documentation uses.
var refusedKeys = reasons{
	"JetStream acknowledges before it syncs and stays off": {"jetstream", "store_dir", "storedir"},
	"the system account is " + AccountSystem: {
		"system_account", "system", "no_system_account", "no_system", "no_sys_acc"},
	"Outrigger defines its accounts and users itself, so the server cannot be in operator mode": {
		"operator", "operators", "roots", "root", "root_operators", "root_operator",
		"trusted", "trusted_keys", "resolver", "account_resolver", "accounts_resolver",
		"resolver_tls", "resolver_preload", "resolver_pinned_accounts", "default_sentinel"},
	"a gateway would carry Outrigger's accounts into another cluster": {"gateway"},
}

// refusedAnywhere may not appear at any depth.
var refusedAnywhere = reasons{
	"nobody may connect without a password":                          {"no_auth_user"},
	"Outrigger decides itself who may log in":                        {"auth_callout"},
	"the sidecar's own connections come from inside, past any proxy": {"proxy_required"},
	"the sidecar's own connections show no certificate":              {"verify_and_map"},
}

// lockedKeys are accepted and have no effect: server.properties or Outrigger decides. The operator
// is told once.
var lockedKeys = reasons{
	"nats.client.listen decides": {"listen", "host", "net", "port"},
	"the node decides":           {"server_name"},
	"message.max.bytes decides":  {"max_payload", "max_pending"},
	"replication relies on it": {
		"no_header_support", "no_fast_producer_stall", "ping_interval", "ping_max",
		"write_deadline", "write_timeout", "max_subscriptions", "max_subs",
		"max_sub_tokens", "max_subscription_tokens"},
	"the log goes through the broker's": {
		"logfile", "log_file", "logfile_size_limit", "log_size_limit", "logfile_max_num",
		"log_max_num", "logtime", "logtime_utc", "syslog", "remote_syslog"},
}

// lockedClusterKeys are the same within the cluster block.
var lockedClusterKeys = reasons{
	"nats.cluster.listen decides":      {"listen", "host", "net", "port"},
	"nats.cluster.secret decides":      {"authorization"},
	"controller.quorum.voters decides": {"routes"},
	"replication relies on it": {
		"no_advertise", "connect_retries", "connect_backoff", "permissions", "pool_size",
		"accounts", "ping_interval", "ping_max", "write_deadline"},
}

// reasons maps a reason to the keys that it speaks of.
type reasons map[string][]string

func (r reasons) of(key string) (reason string, found bool) {
	for reason, keys := range r {
		if slices.Contains(keys, key) {
			return reason, true
		}
	}
	return "", false
}

// token is what the parser wraps every value in: the value and where it stands.
type token interface {
	Value() any
	Line() int
	SourceFile() string
}

// operatorFile walks a parsed nats.conf and collects what is wrong with it, before nats-server
// sees it: accounts and users of a file are appended to ours, not replaced by them.
type operatorFile struct {
	path     string
	users    []string // names that are ours
	problems []error
	ignored  []string
}

// mergeOperatorFile reads the operator's nats.conf into o.
func mergeOperatorFile(o *server.Options, c Config) error {
	tree, err := conf.ParseFileWithChecks(c.OperatorFile)
	if err != nil {
		return fmt.Errorf("read nats.config %s: %w", c.OperatorFile, err)
	}
	f := &operatorFile{path: c.OperatorFile, users: append(ourUsers(), c.OpsUser, c.SysUser)}
	f.checkTop(tree)
	if len(f.problems) > 0 {
		return fmt.Errorf("read nats.config: %w", joined(f.problems))
	}
	if err := o.ProcessConfigFile(c.OperatorFile); err != nil {
		if err := withoutWarnings(err, c); err != nil {
			return fmt.Errorf("read nats.config: %w", err)
		}
	}
	if len(f.ignored) > 0 {
		c.Logger.Warn("settings of nats.config have no effect", "settings", f.ignored)
	}
	return nil
}

// withoutWarnings logs the warnings within err and returns its errors, or nil if it has none.
func withoutWarnings(err error, c Config) error {
	var both interface {
		Errors() []error
		Warnings() []error
	}
	if !errors.As(err, &both) {
		return err
	}
	for _, warning := range both.Warnings() {
		c.Logger.Warn("nats.config is doubtful", "warning", warning)
	}
	return joined(both.Errors())
}

// joined puts several errors on one line.
func joined(list []error) error {
	if len(list) == 0 {
		return nil
	}
	texts := make([]string, len(list))
	for i, err := range list {
		texts[i] = err.Error()
	}
	slices.Sort(texts)
	return errors.New(strings.Join(slices.Compact(texts), "; "))
}

func (f *operatorFile) checkTop(tree map[string]any) {
	for name, value := range tree {
		key := strings.ToLower(name)
		if reason, found := refusedKeys.of(key); found {
			f.refuse(value, fmt.Sprintf("%s is not allowed: %s", name, reason))
			continue
		}
		if reason, found := lockedKeys.of(key); found {
			f.ignore(value, name, reason)
		}
		switch key {
		case "cluster":
			f.checkCluster(value)
		case "accounts":
			f.checkAccounts(value)
		case "authorization":
			f.checkAuthorization(value)
		}
		f.walk(name, value)
	}
}

func (f *operatorFile) checkCluster(value any) {
	for name, inner := range entries(value) {
		key := strings.ToLower(name)
		if key == "name" {
			f.refuse(inner, "cluster name is not allowed: every node of Outrigger must have the same")
		}
		if reason, found := lockedClusterKeys.of(key); found {
			f.ignore(inner, "cluster."+name, reason)
		}
	}
}

func (f *operatorFile) checkAccounts(value any) {
	for name, inner := range entries(value) {
		if slices.Contains(ourAccounts, name) {
			f.refuse(inner, fmt.Sprintf("account %s is not allowed: it is Outrigger's own", name))
		}
	}
}

// checkAuthorization refuses the login that the server would silently pass over, since there are
// several users.
func (f *operatorFile) checkAuthorization(value any) {
	for name, inner := range entries(value) {
		switch strings.ToLower(name) {
		case "user", "username", "pass", "password", "token":
			f.refuse(inner, fmt.Sprintf("authorization.%s is not allowed: "+
				"operators log in with nats.ops.user, others need an account of their own", name))
		}
	}
}

// walk looks for what is forbidden at any depth: a leaf node bound to one of our accounts, say.
func (f *operatorFile) walk(name string, value any) {
	key := strings.ToLower(name)
	if reason, found := refusedAnywhere.of(key); found {
		f.refuse(value, fmt.Sprintf("%s is not allowed: %s", name, reason))
		return
	}
	inner := plain(value)
	if text, ok := inner.(string); ok {
		f.checkName(key, text, value)
	}
	switch inner := inner.(type) {
	case map[string]any:
		for name, entry := range inner {
			f.walk(name, entry)
		}
	case []any:
		for _, entry := range inner {
			f.walk(name, entry)
		}
	}
}

func (f *operatorFile) checkName(key, text string, at any) {
	switch key {
	case "account", "local", "local_account":
		if slices.Contains(ourAccounts, text) {
			f.refuse(at, fmt.Sprintf("account %s is not allowed here: it is Outrigger's own", text))
		}
	case "user", "username":
		if text != "" && slices.Contains(f.users, text) {
			f.refuse(at, fmt.Sprintf("user %s is not allowed: it is Outrigger's own", text))
		}
	}
}

func (f *operatorFile) refuse(at any, what string) {
	f.problems = append(f.problems, fmt.Errorf("%s: %s", f.place(at), what))
}

func (f *operatorFile) ignore(at any, name, reason string) {
	f.ignored = append(f.ignored, fmt.Sprintf("%s: %s: %s", f.place(at), name, reason))
}

func (f *operatorFile) place(at any) string {
	t, ok := at.(token)
	if !ok {
		return f.path
	}
	source := t.SourceFile()
	if source == "" {
		source = f.path
	}
	return fmt.Sprintf("%s:%d", source, t.Line())
}

// plain takes a value out of its token.
func plain(value any) any {
	if t, ok := value.(token); ok {
		return t.Value()
	}
	return value
}

// entries is a block's content, or nothing if value is no block.
func entries(value any) map[string]any {
	block, _ := plain(value).(map[string]any)
	return block
}
