package main

import (
	"context"
	"errors"
	"path/filepath"
	"time"

	"vouchsafe/engine"
	"vouchsafe/engine/audit"
	"vouchsafe/engine/httpapi"
)

// signedState is a checkpoint with the public key that it verifies with.
type signedState struct {
	audit.Checkpoint
	Key string `json:"key"`
}

func (a *app) adminCheckpoint(r httpapi.AdminRequest) (any, error) {
	s, err := a.site(r)
	if err != nil {
		return nil, err
	}
	c, err := a.audit.Checkpoint(r.Context, s.ID)
	if err != nil {
		return nil, err
	}
	key, err := audit.PublicKey(s.ID, a.audit.Public())
	return signedState{c, key}, err
}

// toVerify is what a log is held against: checkpoints that were kept elsewhere.
type toVerify struct {
	Checkpoints []string `json:"checkpoints"`
}

func (a *app) adminVerify(r httpapi.AdminRequest) (any, error) {
	var in toVerify
	if err := readStrict(r.Body, &in); err != nil {
		return nil, err
	}
	v := audit.Verification{Public: a.audit.Public()}
	for _, text := range in.Checkpoints {
		c, err := checkpointOf([]byte(text), v.Public)
		if err != nil {
			return nil, engine.Errorf(codeInvalidRequest, err.Error(), err)
		}
		v.Checkpoints = append(v.Checkpoints, c)
	}
	return a.audit.Verify(r.Context, v)
}

func (a *app) adminProof(r httpapi.AdminRequest) (any, error) {
	e, err := a.audit.Show(r.Param("id"))
	if errors.Is(err, audit.ErrNotFound) || err == nil && !r.Caller.May(e.Site) {
		return nil, engine.Errorf(engine.CodeNotFound, "There is no such decision.", nil)
	}
	if err != nil {
		return nil, err
	}
	return a.audit.Prove(r.Context, e.Decision.ID)
}

// toConnect are the checkpoints between which the log is to be shown to have only
// grown: a fresh one is the newer when To is "".
type toConnect struct {
	From string `json:"from"`
	To   string `json:"to,omitempty"`
}

func (a *app) adminConsistency(r httpapi.AdminRequest) (any, error) {
	s, err := a.site(r)
	if err != nil {
		return nil, err
	}
	var in toConnect
	if err := readStrict(r.Body, &in); err != nil {
		return nil, err
	}
	read := func(text string) (c audit.Checkpoint, err error) {
		if c, err = checkpointOf([]byte(text), a.audit.Public()); err == nil && c.Site != s.ID {
			err = errors.New("the checkpoint is of another site")
		}
		if err != nil {
			err = engine.Errorf(codeInvalidRequest, err.Error(), err)
		}
		return c, err
	}
	from, err := read(in.From)
	if err != nil {
		return nil, err
	}
	var to *audit.Checkpoint
	if in.To != "" {
		c, err := read(in.To)
		if err != nil {
			return nil, err
		}
		to = &c
	}
	p, err := a.audit.ProveConsistency(r.Context, from, to)
	if errors.Is(err, audit.ErrInconsistent) {
		return nil, engine.Errorf(engine.CodeLogInconsistent, "Not shown: "+err.Error()+".", err)
	}
	return p, err
}

func (a *app) adminErase(r httpapi.AdminRequest) (any, error) {
	s, err := a.site(r)
	if err != nil {
		return nil, err
	}
	var in audit.Person
	if err := readStrict(r.Body, &in); err != nil {
		return nil, err
	}
	given := 0
	for _, v := range []string{in.Subject, in.Email, in.Name} {
		if v != "" {
			given++
		}
	}
	if given != 1 {
		return nil, engine.Errorf(codeInvalidRequest, "Name one of subject, email and name.", nil)
	}
	return a.audit.Erase(r.Context, s.ID, r.Caller.Name(), in, a.forget)
}

// forget lets go of what is kept of somebody outside the log: what waits for
// them, and what waits and names them.
func (a *app) forget(ctx context.Context, who *audit.Whom) (n int, err error) {
	waiting, err := a.confirm.Forget(ctx, who)
	if err != nil {
		return waiting, err
	}
	conversations, err := a.conversations.Forget(ctx, who)
	if n = waiting + conversations; err != nil {
		return n, err
	}
	a.server.ForgetResponses()
	// What was deleted is still in free pages, and more of them in those of what
	// was there before.
	return n, a.state.Tidy(ctx, time.Now())
}

// toBackUp is where a copy of the log is to be made.
type toBackUp struct {
	Out string `json:"out"`
}

func (a *app) adminBackup(r httpapi.AdminRequest) (any, error) {
	var in toBackUp
	if err := readStrict(r.Body, &in); err != nil {
		return nil, err
	}
	if !filepath.IsAbs(in.Out) {
		return nil, engine.Errorf(codeInvalidRequest, "out is the absolute path of a folder that is not there yet.", nil)
	}
	v, err := a.audit.Backup(r.Context, in.Out)
	if err != nil {
		return nil, engine.Errorf(codeInvalidRequest, "The backup could not be made: "+err.Error(), err)
	}
	return v, nil
}
