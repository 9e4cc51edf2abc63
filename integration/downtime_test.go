package integration

import (
	"slices"
	"syscall"
	"testing"

	"github.com/gravitational/teleport/api/types"
	"github.com/stretchr/testify/require"

	"teleport-jira-agent/integration/jirasim"
	"teleport-jira-agent/integration/pgtest"
	"teleport-jira-agent/integration/replica"
	"teleport-jira-agent/integration/teleportsim"
)

// Downtime of the agent: what people did on both sides meanwhile is settled at its start, once.

// meanwhile is what happens to one request while no agent runs.
type meanwhile struct {
	// new: the request is made in that time too, so that there is no issue yet.
	new    bool
	edit   func(*teleportsim.Request)
	happen func(s *system, id string, issue string) error
	// want is what has become of it in the end; nil for a request that never gets an issue.
	want *story
}

const placed = "agent: To Do → Pending"

func whileDown() map[string]meanwhile {
	move := func(user, status string) func(*system, string, string) error {
		return func(s *system, _, issue string) error { return s.jira.Move(issue, user, status) }
	}
	approve := func(s *system, id, _ string) error { return s.teleport.Approve(id, "carol@example.com", "") }
	deny := func(s *system, id, _ string) error { return s.teleport.Deny(id, "carol@example.com", "") }
	remove := func(s *system, id, _ string) error { return s.teleport.Delete(id) }
	expire := func(s *system, id, _ string) error { return s.teleport.Expire(id) }
	review := func(author string) func(*system, string, string) error {
		return func(s *system, id, _ string) error { return s.teleport.Review(id, author, true, "") }
	}
	nothing := func(*system, string, string) error { return nil }
	first := func(steps ...func(*system, string, string) error) func(*system, string, string) error {
		return func(s *system, id, issue string) error {
			for _, step := range steps {
				if err := step(s, id, issue); err != nil {
					return err
				}
			}
			return nil
		}
	}
	twoApprovals := func(r *teleportsim.Request) { r.Approvals = 2 }
	const none, pending, approved, denied, promoted = types.RequestState_NONE, types.RequestState_PENDING,
		types.RequestState_APPROVED, types.RequestState_DENIED, types.RequestState_PROMOTED

	return map[string]meanwhile{
		"nothing": {happen: nothing, want: &story{pending, nil, []string{placed}, nil}},

		"made":              {new: true, happen: nothing, want: &story{pending, nil, []string{placed}, nil}},
		"made and approved": {new: true, happen: approve},
		"made and deleted":  {new: true, happen: remove},
		"made and reviewed": {
			new: true, edit: twoApprovals, happen: review("bob@example.com"),
			want: &story{pending, nil, []string{placed}, []string{"review:bob@example.com"}},
		},

		"approved in Jira": {
			happen: move("bob", "Approved"),
			want: &story{
				approved,
				byBob(approved),
				[]string{placed, "bob: Pending → Approved"},
				[]string{"resolution:approved"},
			},
		},
		"denied in Jira": {
			happen: move("bob", "Denied"),
			want:   &story{denied, byBob(denied), []string{placed, "bob: Pending → Denied"}, []string{"resolution:denied"}},
		},
		"approved in Jira and taken back": {
			happen: first(move("bob", "Approved"), move("bob", "Pending")),
			want:   &story{pending, nil, []string{placed, "bob: Pending → Approved", "bob: Approved → Pending"}, nil},
		},
		"approved in Jira by its requester": {
			edit:   by("mallory@example.com"),
			happen: move("mallory", "Approved"),
			want: &story{
				pending,
				nil,
				[]string{placed, "mallory: Pending → Approved", "agent: Approved → Pending"},
				[]string{"refused"},
			},
		},

		"reviewed": {
			edit: twoApprovals, happen: review("bob@example.com"),
			want: &story{pending, nil, []string{placed}, []string{"review:bob@example.com"}},
		},
		"reviewed by as many as it takes": {
			edit: twoApprovals, happen: first(review("bob@example.com"), review("carol@example.com")),
			want: &story{
				approved, nil,
				[]string{placed, "agent: Pending → Approved"},
				[]string{"review:bob@example.com", "review:carol@example.com", "resolution:approved"},
			},
		},
		"approved in Teleport": {
			happen: approve,
			want:   &story{approved, nil, []string{placed, "agent: Pending → Approved"}, []string{"resolution:approved"}},
		},
		"denied in Teleport": {
			happen: deny, want: &story{denied, nil, []string{placed, "agent: Pending → Denied"}, []string{"resolution:denied"}},
		},
		"promoted in Teleport": {
			happen: func(s *system, id, _ string) error { return s.teleport.Promote(id, "carol@example.com", "Admins") },
			want: &story{
				promoted,
				nil,
				[]string{placed, "agent: Pending → Approved"},
				[]string{"review:carol@example.com", "resolution:promoted"},
			},
		},
		"expired": {
			happen: expire,
			want:   &story{none, nil, []string{placed, "agent: Pending → Expired"}, []string{"resolution:expired"}},
		},
		"past its expiry and not yet deleted": {
			happen: func(s *system, id, _ string) error { return s.teleport.PastExpiry(id) },
			want:   &story{pending, nil, []string{placed, "agent: Pending → Expired"}, []string{"resolution:expired"}},
		},
		"deleted": {
			happen: remove,
			want:   &story{none, nil, []string{placed, "agent: Pending → Expired"}, []string{"resolution:expired"}},
		},

		"approved in Jira and denied in Teleport": {
			happen: first(move("bob", "Approved"), deny),
			want: &story{
				denied,
				nil,
				[]string{placed, "bob: Pending → Approved", "agent: Approved → Denied"},
				[]string{"resolution:denied"},
			},
		},
		"approved in Jira and expired": {
			happen: first(move("bob", "Approved"), expire),
			want: &story{
				none,
				nil,
				[]string{placed, "bob: Pending → Approved", "agent: Approved → Expired"},
				[]string{"resolution:expired"},
			},
		},
	}
}

func TestWhatHappensWhileNoAgentRunsIsSettledAtItsStartOnce(t *testing.T) {
	eachDeployment(t, func(t *testing.T, d jirasim.Deployment) {
		for name, end := range map[string]func(*system, *replica.Replica){
			"clean stop": func(s *system, r *replica.Replica) { s.stops(r, syscall.SIGTERM) },
			"SIGKILL":    func(_ *system, r *replica.Replica) { r.Kill() },
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				s := newSystem(t, on{deployment: d, jira: unlimited})
				a := s.start("a", promptly)
				cases, ids := whileDown(), make(map[string]string)
				for name, c := range cases {
					if !c.new {
						ids[name] = s.requestWith(c.edit)
						s.issueIn(ids[name], "Pending")
					}
				}
				end(s, a)

				for name, c := range cases {
					issue := ""
					if c.new {
						ids[name] = s.requestWith(c.edit)
					} else {
						issue = s.issueOf(ids[name]).Key
					}
					require.NoError(t, c.happen(s, ids[name], issue), name)
				}
				b := s.start("b", promptly)
				for name, c := range cases {
					if c.want != nil {
						s.becomes(ids[name], *c.want)
					}
				}
				s.polls(d, 2)
				issues := 0
				for name, c := range cases {
					if c.want == nil {
						continue
					}
					issues++
					require.Equal(t, *c.want, s.story(ids[name]), name)
				}
				require.Len(t, s.jira.Issues(), issues)

				// The next start finds nothing to do.
				end(s, b)
				after, audit := s.jira.Issues(), s.teleport.Audit("")
				s.start("c")
				s.polls(d, 2)
				require.Equal(t, after, s.jira.Issues())
				require.Equal(t, audit, s.teleport.Audit(""))
			})
		}
	})
}

// requestWith is request with an edit that may be nil.
func (s *system) requestWith(edit func(*teleportsim.Request)) string {
	s.t.Helper()
	if edit == nil {
		return s.request()
	}
	return s.request(edit)
}

// becomes waits until the request's issue shows the end of a story; Teleport's part of it comes
// before that.
func (s *system) becomes(id string, want story) {
	s.t.Helper()
	_, err := s.jira.WaitIssue(s.ctx, func(i jirasim.Issue) bool {
		return i.Text(field) == id && slices.Equal(moves(i), want.Moves) && slices.Equal(marks(s.t, i), want.Marks)
	})
	require.NoError(s.t, err, "%+v", want)
}

// outage is a way in which a side is out of the agent's reach, though not of people's.
type outage struct {
	side  string // as the log and /readyz name it
	cause string // what the error says, among other things
	begin func(*stage) (end func())
	// noticed is the line of its log by which a leader tells of it.
	noticed []string
	// sent: a create may reach Jira without an answer. Its issue is then looked for, which takes
	// longer than a test, before another is made.
	sent bool
}

// stage is a system whose PostgreSQL can be stopped; nil where no outage needs that.
type stage struct {
	*system
	postgres *pgtest.Server
}

func newStage(t *testing.T, outages ...outage) *stage {
	t.Helper()
	s := &stage{system: newSystem(t, on{deployment: jirasim.Cloud})}
	s.env["LEADER_LEASE"] = "10s" // so that a slow machine is no further outage
	if slices.ContainsFunc(outages, func(o outage) bool { return o.side == "postgresql" }) {
		s.postgres, s.env["LEADER_LEASE"] = s.ownPostgres(), "3s"
	}
	return s
}

// ownPostgres gives the replicas a PostgreSQL server that no other test uses.
func (s *system) ownPostgres() *pgtest.Server {
	s.t.Helper()
	server, err := pgtest.Start(s.ctx, pgtest.Options{})
	require.NoError(s.t, err)
	s.t.Cleanup(func() { require.NoError(s.t, server.Close()) })
	s.env["DATABASE_URL"] = server.URL("postgres")
	return server
}

func outages() map[string]outage {
	failing := func(loop string) []string { return []string{"failing; trying again until it works", "loop", loop} }
	noElection := []string{"cannot take part in the election; trying again until it works"}
	answers := func(effect jirasim.Effect) func(*stage) func() {
		return func(s *stage) func() { return s.jira.Inject(jirasim.Fault{Effect: effect}) }
	}
	stopPostgres := func(mode pgtest.Mode) func(*stage) func() {
		return func(s *stage) func() {
			require.NoError(s.t, s.postgres.Stop(s.ctx, mode))
			return func() { require.NoError(s.t, s.postgres.Start(s.ctx)) }
		}
	}
	return map[string]outage{
		"Jira is stopped": {
			side:    "jira",
			cause:   "connection refused",
			noticed: failing("jira poll"),
			begin: func(s *stage) func() {
				s.stopJira()
				return func() { _, s.stopJira = s.jira.Start() }
			},
		},
		"Jira is in maintenance": {
			side: "jira", cause: "HTTP 503", noticed: failing("jira poll"),
			begin: answers(jirasim.Respond(503, "<html>Back soon</html>", "Content-Type", "text/html", "Retry-After", "1")),
		},
		"Jira hangs": {
			side:    "jira",
			cause:   "no answer within 15s",
			noticed: failing("jira poll"),
			begin:   answers(jirasim.Hang()),
			sent:    true,
		},
		"Teleport is stopped": {
			side:    "teleport",
			cause:   "connection refused",
			noticed: failing("teleport watch"),
			begin: func(s *stage) func() {
				s.teleport.Stop()
				return func() { require.NoError(s.t, s.teleport.Start(s.teleport.Addr())) }
			},
		},
		"Teleport's Auth Service is down": {
			side:    "teleport",
			cause:   "is down",
			noticed: failing("teleport watch"),
			begin: func(s *stage) func() {
				s.teleport.SetDown(true)
				return func() { s.teleport.SetDown(false) }
			},
		},
		"Teleport hangs": {side: "teleport", cause: "deadline", noticed: []string{"not done"}, begin: func(s *stage) func() {
			return s.teleport.Inject(teleportsim.Fault{Kind: teleportsim.FaultHang}).Remove
		}},
		"PostgreSQL is stopped": {
			side:    "postgresql",
			cause:   "connection refused",
			noticed: noElection,
			begin:   stopPostgres(pgtest.Fast),
		},
		"PostgreSQL has crashed": {
			side:    "postgresql",
			cause:   "connection refused",
			noticed: noElection,
			begin:   stopPostgres(pgtest.Immediate),
		},
		"PostgreSQL hangs": {side: "postgresql", cause: "timeout", noticed: noElection, begin: func(s *stage) func() {
			require.NoError(s.t, s.postgres.Pause(s.ctx))
			return func() { require.NoError(s.t, s.postgres.Resume()) }
		}},
	}
}

func TestAnAgentWaitsAtItsStartForWhatIsOutOfReach(t *testing.T) {
	t.Parallel()
	cases := make(map[string][]outage)
	for name, o := range outages() {
		cases[name] = []outage{o}
	}
	cases["all three are stopped"] = []outage{
		outages()["Jira is stopped"],
		outages()["PostgreSQL is stopped"],
		outages()["Teleport is stopped"],
	}
	for name, out := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t, out...)
			var ends []func()
			for _, o := range out {
				ends = append(ends, o.begin(s))
			}
			a, b := s.launch("a"), s.launch("b", promptly)
			for _, o := range out {
				line, err := a.WaitLog(s.ctx, "waiting; this replica is not ready", "for", o.side)
				require.NoError(t, err)
				require.Equal(t, "warn", line.Fields["level"])
				require.Contains(t, line.Fields["error"], o.cause)
			}
			s.reaches(a, out)
			answer := s.ready(a)
			require.Equal(t, 503, answer.Code)
			require.Equal(t, "standby", answer.Role)
			require.Len(t, answer.Reasons, len(out))
			for i, o := range out {
				require.Regexp(t, "^"+o.side+": .*"+o.cause, answer.Reasons[i])
			}
			code, _, err := a.Get(s.ctx, "/healthz")
			require.NoError(t, err)
			require.Equal(t, 200, code, "it works, and waits")
			_, err = b.WaitLog(s.ctx, "starting")
			require.NoError(t, err)
			s.stops(b, syscall.SIGTERM)

			for _, end := range ends {
				end()
			}
			s.leads(a)
			answer = s.ready(a)
			require.Equal(t, 200, answer.Code, answer.Reasons)
			require.Equal(t, "leader", answer.Role)
			id := s.request()
			s.approveInJira([]string{id})
			s.settled(id, "approved")
		})
	}
}

// reaches waits until the replica is connected to all sides but those that are out.
func (s *stage) reaches(r *replica.Replica, out []outage) {
	s.t.Helper()
	for _, side := range []string{"jira", "postgresql", "teleport"} {
		if !slices.ContainsFunc(out, func(o outage) bool { return o.side == side }) {
			_, err := r.WaitLog(s.ctx, "connected", "to", side)
			require.NoError(s.t, err)
		}
	}
}

// logs waits for a line that comes after the first n of the log.
func (s *system) logs(r *replica.Replica, n int, message string, pairs ...string) {
	s.t.Helper()
	seen := 0
	_, err := r.WaitLine(s.ctx, func(l replica.Line) bool { seen++; return seen > n && l.Is(message, pairs...) })
	require.NoError(s.t, err, "%s %v", message, pairs)
}

func TestWhatHappensWhileASideIsOutOfReachIsSettledOnceWhenItIsBack(t *testing.T) {
	t.Parallel()
	for name, o := range outages() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t, o)
			a := s.start("a")
			approved, denied := s.request(), s.request()
			issue := s.issueIn(approved, "Pending")
			s.issueIn(denied, "Pending")
			s.polls(jirasim.Cloud, 1)

			before := len(a.Lines())
			end := o.begin(s)
			require.NoError(t, s.jira.Move(issue.Key, "bob", "Approved"))
			require.NoError(t, s.teleport.Deny(denied, "carol@example.com", ""))
			made := ""
			if !o.sent {
				made = s.request()
			}
			s.logs(a, before, o.noticed[0], o.noticed[1:]...)
			if o.noticed[0] != "not done" {
				answer := s.ready(a)
				require.Equal(t, 503, answer.Code)
				require.NotEmpty(t, answer.Reasons)
			}
			end()

			s.settled(approved, "approved")
			s.settled(denied, "denied")
			if made != "" {
				s.issueIn(made, "Pending")
			}
			s.polls(jirasim.Cloud, 2)
			require.Equal(t, 200, s.ready(a).Code, s.ready(a).Reasons)
			require.Equal(t, story{
				State: types.RequestState_APPROVED, Verdicts: byBob(types.RequestState_APPROVED),
				Moves: []string{placed, "bob: Pending → Approved"}, Marks: []string{"resolution:approved"},
			}, s.story(approved))
			require.Equal(t, story{
				State: types.RequestState_DENIED,
				Moves: []string{placed, "agent: Pending → Denied"},
				Marks: []string{"resolution:denied"},
			}, s.story(denied))
			if made != "" {
				require.Equal(t, story{State: types.RequestState_PENDING, Moves: []string{placed}}, s.story(made))
			}
		})
	}
}
