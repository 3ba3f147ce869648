package natsconf

import (
	"crypto/rand"
	"fmt"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
)

// inProcessUsers are the sidecar's own logins, one per account. Their passwords are made at random
// at every start and never leave the process; were one to leak, the server would still refuse it on
// any connection that was not opened from inside.
var inProcessUsers = []struct{ name, account string }{
	{"outrigger-hb", AccountHeartbeat},
	{"outrigger-raft", AccountRaft},
	{"outrigger-repl", AccountReplication},
	{"outrigger-catchup", AccountCatchup},
	{"outrigger-sidecar", AccountOps},
}

// pinnedAccounts each have a route connection of their own. The server pins SYS by itself.
var pinnedAccounts = []string{AccountHeartbeat, AccountRaft, AccountReplication, AccountCatchup}

// ourAccounts may not appear in an operator's file.
var ourAccounts = append([]string{AccountOps, AccountSystem}, pinnedAccounts...)

// ourUsers are the names that nobody else may have.
func ourUsers() []string {
	names := []string{feedUser}
	for _, user := range inProcessUsers {
		names = append(names, user.name)
	}
	return names
}

// tappedSubjects are what operators may read besides, with TapPayload.
var tappedSubjects = []struct{ account, subject string }{
	{AccountReplication, "wal.>"},
	{AccountHeartbeat, "hb.>"},
	{AccountRaft, "raft.>"},
}

// credentials hold the random password of each account's in-process user, and that of feedUser.
type credentials map[string]string

func newCredentials() credentials {
	c := make(credentials, len(inProcessUsers))
	for _, user := range inProcessUsers {
		c[user.account] = rand.Text()
	}
	c[feedUser] = rand.Text()
	return c
}

// addAccounts appends our accounts and users. It runs before server.NewServer: exports and imports
// made later are silently without effect.
func addAccounts(o *server.Options, c Config, secrets credentials) error {
	accounts := make(map[string]*server.Account, len(ourAccounts))
	for _, name := range ourAccounts {
		accounts[name] = server.NewAccount(name)
		o.Accounts = append(o.Accounts, accounts[name])
	}
	o.SystemAccount = AccountSystem
	if c.DebugTap == TapPayload {
		if err := exportTaps(accounts); err != nil {
			return err
		}
	}
	for _, user := range inProcessUsers {
		o.Users = append(o.Users, &server.User{
			Username: user.name, Password: secrets[user.account], Account: accounts[user.account],
			AllowedConnectionTypes: connectionTypes(jwt.ConnectionTypeInProcess),
		})
	}
	o.Users = append(o.Users, &server.User{
		Username: feedUser, Password: secrets[feedUser], Account: accounts[AccountReplication],
		Permissions:            feedPermissions(c.NodeID),
		AllowedConnectionTypes: connectionTypes(jwt.ConnectionTypeStandard),
	})
	if c.OpsUser != "" {
		o.Users = append(o.Users, &server.User{
			Username: c.OpsUser, Password: c.OpsPassword, Account: accounts[AccountOps],
			Permissions:            opsPermissions(c.DebugTap),
			AllowedConnectionTypes: connectionTypes(jwt.ConnectionTypeStandard),
		})
	}
	if c.SysUser != "" {
		o.Users = append(o.Users, &server.User{
			Username: c.SysUser, Password: c.SysPassword, Account: accounts[AccountSystem],
			AllowedConnectionTypes: connectionTypes(jwt.ConnectionTypeStandard),
		})
	}
	return nil
}

// exportTaps is one-way: what OPS publishes on an imported stream's subject stays in OPS.
func exportTaps(accounts map[string]*server.Account) error {
	ops := accounts[AccountOps]
	for _, tap := range tappedSubjects {
		from := accounts[tap.account]
		if err := from.AddStreamExport(tap.subject, []*server.Account{ops}); err != nil {
			return fmt.Errorf("export %s of %s: %w", tap.subject, tap.account, err)
		}
		if err := ops.AddStreamImport(from, tap.subject, ""); err != nil {
			return fmt.Errorf("import %s of %s: %w", tap.subject, tap.account, err)
		}
	}
	return nil
}

// opsPermissions let an operator ask and listen, and nothing else.
func opsPermissions(debugTap string) *server.Permissions {
	subscribe := []string{"_INBOX.>", "sidecar.event.>"}
	if debugTap != TapOff {
		subscribe = append(subscribe, "sidecar.tap.>")
	}
	if debugTap == TapPayload {
		for _, tap := range tappedSubjects {
			subscribe = append(subscribe, tap.subject)
		}
	}
	return &server.Permissions{
		Publish: &server.SubjectPermission{
			Allow: []string{"sidecar.status", "sidecar.status.*", "$SRV.>"},
		},
		Subscribe: &server.SubjectPermission{Allow: subscribe},
	}
}

func connectionTypes(types ...string) map[string]struct{} {
	set := make(map[string]struct{}, len(types))
	for _, t := range types {
		set[t] = struct{}{}
	}
	return set
}
