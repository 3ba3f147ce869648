package config

import (
	"fmt"
	"strconv"
	"strings"

	"outrigger/broker/topic"
)

// Voter is a member of the metadata Raft and the address of its NATS cluster listener.
type Voter struct {
	ID topic.NodeID
	Address
}

// parseVoters reads "1@host:6222,2@host:6222". Hosts are not resolved: a name that does not resolve
// yet is for the one who connects to retry.
func parseVoters(text string) ([]Voter, error) {
	var voters []Voter
	seen := make(map[topic.NodeID]bool)
	for _, element := range splitList(text) {
		voter, err := parseVoter(element)
		if err != nil {
			return nil, &Refusal{keyVoters, text, err.Error()}
		}
		if seen[voter.ID] {
			return nil, &Refusal{keyVoters, text, fmt.Sprintf("node %d occurs twice", voter.ID)}
		}
		seen[voter.ID] = true
		voters = append(voters, voter)
	}
	return voters, nil
}

func parseVoter(text string) (Voter, error) {
	idText, hostPort, ok := strings.Cut(text, "@")
	if !ok {
		return Voter{}, fmt.Errorf("%q is not id@host:port", text)
	}
	id, err := strconv.ParseInt(strings.TrimSpace(idText), 10, 32)
	if err != nil || id < 0 {
		return Voter{}, fmt.Errorf("%q: the id is not a number from 0 up", text)
	}
	address, err := ParseAddress(hostPort)
	if err != nil {
		return Voter{}, fmt.Errorf("%q: %w", text, err)
	}
	if address.wildcard() || address.Port == 0 {
		return Voter{}, fmt.Errorf("%q: the other brokers need a host and a port to connect to", text)
	}
	return Voter{ID: topic.NodeID(id), Address: address}, nil
}

// findVoter returns the voter of that id.
func findVoter(voters []Voter, id topic.NodeID) (Voter, bool) {
	for _, voter := range voters {
		if voter.ID == id {
			return voter, true
		}
	}
	return Voter{}, false
}
