package datadir

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

const operatorName = "nats-operator.json"

// Operator is the content of nats-operator.json: how an operator logs into NATS when the
// configuration names no passwords.
type Operator struct {
	URL string `json:"url"`
	Ops Login  `json:"ops"`
	Sys Login  `json:"sys"`
}

// Login is a NATS user and its password.
type Login struct {
	User     string `json:"user"`
	Password string `json:"password"`
}

// Operator fills in the passwords that want lacks: with those drawn earlier, so that a restart keeps
// them, or with new random ones. filled says whether it had to; RecordOperator then keeps them.
func (d *Dir) Operator(want Operator) (operator Operator, filled bool, err error) {
	if want.Ops.Password != "" && want.Sys.Password != "" {
		return want, false, nil
	}
	old, err := d.readOperator()
	if err != nil {
		return want, false, err
	}
	operator = want
	operator.Ops.Password = choose(want.Ops.Password, old.Ops.Password)
	operator.Sys.Password = choose(want.Sys.Password, old.Sys.Password)
	return operator, true, nil
}

// RecordOperator leaves the logins in nats-operator.json, which only this user may read. It comes after
// the server has started: only then is its port known, if any free one was asked for.
func (d *Dir) RecordOperator(operator Operator) error {
	old, err := d.readOperator()
	if err != nil || operator == old {
		return err
	}
	return d.writeOperator(operator)
}

func choose(wanted, old string) string {
	switch {
	case wanted != "":
		return wanted
	case old != "":
		return old
	}
	var secret [18]byte
	_, _ = rand.Read(secret[:]) // never fails, by its documentation
	return base64.RawURLEncoding.EncodeToString(secret[:])
}

func (d *Dir) readOperator() (Operator, error) {
	var old Operator
	content, err := os.ReadFile(d.Path(operatorName))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return old, nil
	case err != nil:
		return old, fmt.Errorf("read NATS passwords: %w", err)
	}
	if err := json.Unmarshal(content, &old); err != nil {
		return old, fmt.Errorf("read NATS passwords in %s: %w", d.Path(operatorName), err)
	}
	return old, nil
}

// writeOperator removes the temporary file of an earlier crash first, so that its mode cannot be
// anybody else's choice.
func (d *Dir) writeOperator(operator Operator) error {
	content, err := json.MarshalIndent(operator, "", "  ")
	if err != nil {
		return fmt.Errorf("encode NATS passwords: %w", err)
	}
	if err := os.Remove(d.Path(operatorName + ".tmp")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("write NATS passwords: %w", err)
	}
	return writeFile(d.Path(operatorName), append(content, '\n'), private)
}
