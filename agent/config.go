package agent

// Configuration: what an operator tells the agent, from the environment and from a TOML file.
//
// Load promises a Config that is whole and consistent, or Problems: one line for each thing that is
// wrong, all of them at once and in the order of the variables below. Values come, the first that
// is set winning, from
//
//	the environment variable NAME           (an empty one counts as not set, but for ADMIN_LISTEN_ADDR)
//	the file that NAME_FILE names           (secrets only; read again when it changes)
//	the TOML file, [group] name             (in the format of Teleport's own Jira plugin, with more keys)
//	the default
//
// The struct tags are the only list of the variables: the loader, the problems, `configure` and the
// help texts read them, so that none can say something else than the code does. Nothing that is
// secret is ever part of a problem, a warning or a printed Config.

import (
	"time"

	"go.uber.org/zap"
)

// Config is everything an operator can set. Make one with Load.
//
// Tags: envconfig is the variable; default and example its values; desc its meaning; required is
// "true" or the condition; empty="allowed" lets an empty value count as set.
type Config struct {
	Teleport TeleportConfig
	Jira     JiraConfig
	Database DatabaseConfig
	Sync     SyncConfig
	Policy   PolicyConfig
	Leader   LeaderConfig
	Admin    AdminConfig
	Webhook  WebhookConfig
	Log      LogConfig

	// Warnings are remarks about the sources that prevent nothing, such as a variable that looks
	// misspelled; to be logged once.
	Warnings []string
}

// TeleportConfig says how to reach Teleport and what to do there.
type TeleportConfig struct {
	Addr              string `envconfig:"TELEPORT_ADDR" required:"true" example:"teleport.example.com:443" desc:"host:port of the Teleport Proxy or Auth Service"`
	IdentityFile      string `envconfig:"TELEPORT_IDENTITY_FILE" required:"unless TELEPORT_CLIENT_KEY, TELEPORT_CLIENT_CRT and TELEPORT_ROOT_CAS are set" example:"/var/lib/teleport/plugins/jira/identity" desc:"identity file from tbot or tctl auth sign"`
	ClientKey         string `envconfig:"TELEPORT_CLIENT_KEY" example:"/var/lib/teleport/plugins/jira/auth.key" desc:"PEM file of the private key, in place of an identity file"`
	ClientCrt         string `envconfig:"TELEPORT_CLIENT_CRT" example:"/var/lib/teleport/plugins/jira/auth.crt" desc:"PEM file of the certificate, in place of an identity file"`
	RootCAs           string `envconfig:"TELEPORT_ROOT_CAS" example:"/var/lib/teleport/plugins/jira/auth.cas" desc:"PEM file of Teleport's certificate authorities, in place of an identity file"`
	RefreshIdentity   bool   `envconfig:"TELEPORT_REFRESH_IDENTITY" default:"true" desc:"reload the credentials when the file changes, without dropping work"`
	DecisionMode      string `envconfig:"TELEPORT_DECISION_MODE" default:"state" desc:"what a verdict in Jira does: state sets the request's state; review submits a review as the mapped Teleport user; notify never changes Teleport"`
	UserTrait         string `envconfig:"TELEPORT_USER_TRAIT" default:"jira_account_id" desc:"the Teleport user trait that holds the Jira account id: tells in review mode as whom to review, and in each mode whose request it is"`
	UserEmailFallback bool   `envconfig:"TELEPORT_USER_EMAIL_FALLBACK" default:"false" desc:"review mode: without a trait match, take the user whose name is the Jira email"`
}

// JiraConfig says how to reach Jira and what issues look like. URL and BrowseURL have no final
// slash, each status list has at least one entry, and Username is empty where the token is a bearer
// token.
type JiraConfig struct {
	URL            string  `envconfig:"JIRA_URL" required:"true" example:"https://example.atlassian.net" desc:"base URL of Jira; http:// only for a loopback address"`
	Username       string  `envconfig:"JIRA_USERNAME" example:"bot@example.com" desc:"set: basic authentication with the token; empty: the token is sent as a bearer token"`
	APIToken       Secret  `envconfig:"JIRA_API_TOKEN" required:"true" example:"JIRA_API_TOKEN_FILE=/run/secrets/jira-api-token" desc:"API token, or personal access token"`
	BrowseURL      string  `envconfig:"JIRA_BROWSE_URL" example:"https://example.atlassian.net" desc:"base of links shown to people, where it differs from JIRA_URL (scoped tokens)"`
	CAFile         string  `envconfig:"JIRA_CA_FILE" example:"/etc/ssl/private-ca.pem" desc:"PEM bundle for a private CA, trusted beside the system's roots"`
	Project        string  `envconfig:"JIRA_PROJECT" required:"true" example:"ACCESS" desc:"project key"`
	IssueType      string  `envconfig:"JIRA_ISSUE_TYPE" default:"Task" desc:"issue type, by name or id"`
	Deployment     string  `envconfig:"JIRA_DEPLOYMENT" default:"auto" desc:"auto, cloud or datacenter"`
	RequestIDField string  `envconfig:"JIRA_REQUEST_ID_FIELD" default:"teleportAccessRequestId" desc:"the custom field for the request ID, by name or as customfield_N"`
	StatusPending  List    `envconfig:"JIRA_STATUS_PENDING" default:"Pending" desc:"comma-separated status names or ids; an issue is moved to the first, any is recognised, case is ignored"`
	StatusApproved List    `envconfig:"JIRA_STATUS_APPROVED" default:"Approved" desc:"the same for approved requests"`
	StatusDenied   List    `envconfig:"JIRA_STATUS_DENIED" default:"Denied" desc:"the same for denied requests"`
	StatusExpired  List    `envconfig:"JIRA_STATUS_EXPIRED" default:"Expired" desc:"the same for requests that expired or were deleted while pending"`
	StatusPromoted List    `envconfig:"JIRA_STATUS_PROMOTED" example:"Approved" desc:"the same for requests promoted to an access list; not set: as JIRA_STATUS_APPROVED"`
	Fields         Fields  `envconfig:"JIRA_FIELDS" example:"{\"priority\":{\"name\":\"High\"},\"labels\":[\"access\"]}" desc:"JSON object of further fields to set on creation, for projects with required fields"`
	MaxRPS         float64 `envconfig:"JIRA_MAX_RPS" default:"10" desc:"ceiling on requests per second to Jira"`
}

// DatabaseConfig says where PostgreSQL is.
type DatabaseConfig struct {
	URL Secret `envconfig:"DATABASE_URL" required:"true" example:"postgres://agent@db.example.com:5432/agent?sslmode=verify-full" desc:"PostgreSQL URL; the schema is created and migrated at start"`
}

// SyncConfig sets the pace of the work.
type SyncConfig struct {
	PollSchedule  Schedule      `envconfig:"SYNC_POLL_SCHEDULE" default:"@every 5s" desc:"cron spec of the Jira poll while any request is pending"`
	IdleSchedule  Schedule      `envconfig:"SYNC_IDLE_SCHEDULE" default:"@every 1m" desc:"the same while none is"`
	SweepSchedule Schedule      `envconfig:"SYNC_SWEEP_SCHEDULE" default:"@every 10m" desc:"cron spec of the full comparison of both sides"`
	Lookback      time.Duration `envconfig:"SYNC_LOOKBACK" default:"15m" desc:"how far each poll reaches behind the cursor, for a search index that lags"`
	DryRun        bool          `envconfig:"SYNC_DRY_RUN" default:"false" desc:"observe and plan, write nothing to Jira or Teleport, log what would be done"`
	Concurrency   int           `envconfig:"SYNC_CONCURRENCY" default:"16" desc:"requests worked on at once, 1 to 1000"`
	Retention     time.Duration `envconfig:"SYNC_RETENTION" default:"2160h" desc:"how long closed requests and their activity are kept"`
}

// PolicyConfig says whose verdict in Jira counts.
type PolicyConfig struct {
	Approvers      List   `envconfig:"POLICY_APPROVERS" example:"alice@example.com,bob@example.com" desc:"comma-separated Jira account ids or emails that may decide; empty: whoever may move the issue"`
	ApproverGroups List   `envconfig:"POLICY_APPROVER_GROUPS" example:"access-approvers" desc:"the same by Jira group"`
	SelfApproval   string `envconfig:"POLICY_SELF_APPROVAL" default:"deny" desc:"deny: refuse a verdict by the requester; strict: refuse unless it is proven that the two differ; allow"`
}

// LeaderConfig is about the election among replicas.
type LeaderConfig struct {
	Lease time.Duration `envconfig:"LEADER_LEASE" default:"10s" desc:"a leader without a successful heartbeat for this long has stopped; from 1s to 1h"`
}

// AdminConfig is about the listener for health checks and metrics; there is none where ListenAddr
// is empty.
type AdminConfig struct {
	ListenAddr string `envconfig:"ADMIN_LISTEN_ADDR" default:"127.0.0.1:8080" empty:"allowed" desc:"/healthz, /readyz, /metrics; set but empty: no listener at all"`
}

// WebhookConfig is about the listener for Jira's webhooks. While Enabled is false the rest means
// nothing, and need not be right.
type WebhookConfig struct {
	Enabled     bool   `envconfig:"WEBHOOK_ENABLED" default:"false" desc:"take webhooks from Jira: a move is seen at once, at any poll schedule"`
	ListenAddr  string `envconfig:"WEBHOOK_LISTEN_ADDR" default:":8081" desc:"where to listen for them"`
	PublicAddr  string `envconfig:"WEBHOOK_PUBLIC_ADDR" example:"https://agent.example.com:8081" desc:"the address Jira reaches it at"`
	TLSCertFile string `envconfig:"WEBHOOK_TLS_CERT_FILE" example:"/etc/teleport-jira-agent/tls.crt" desc:"PEM file of the certificate, required with the webhook; reloaded when it changes"`
	TLSKeyFile  string `envconfig:"WEBHOOK_TLS_KEY_FILE" example:"/etc/teleport-jira-agent/tls.key" desc:"PEM file of the private key, required with the webhook; reloaded when it changes"`
	Secret      Secret `envconfig:"WEBHOOK_SECRET" example:"WEBHOOK_SECRET_FILE=/run/secrets/jira-webhook" desc:"Jira's webhook secret, required with the webhook"`
}

// LogConfig says what is logged, how and where to.
type LogConfig struct {
	Output   string `envconfig:"LOG_OUTPUT" default:"stderr" desc:"stderr, stdout or a file"`
	Severity string `envconfig:"LOG_SEVERITY" default:"info" desc:"debug, info, warn or error"`
	Format   string `envconfig:"LOG_FORMAT" default:"json" desc:"json or console"`
}

// Options are what Run needs beside the configuration.
type Options struct {
	Log     *zap.Logger
	Version string
	// Reload delivers a value when the operator asks (SIGHUP) that identity, token and TLS files be
	// read again.
	Reload <-chan struct{}
}

// Load reads the configuration from the environment (as os.Environ returns it) and from the TOML
// file, unless its name is empty. What is wrong comes back as Problems.
func Load(file string, environ []string) (*Config, error) {
	cfg := new(Config)
	l := newLoader(cfg)
	if err := l.readTOML(file); err != nil {
		// Its values are unknown, so what is missing cannot be told either.
		return nil, Problems{{Variable: "--config", Problem: err.Error(), Example: "--config /etc/teleport-jira-agent.toml"}}
	}
	l.readEnviron(environ)
	l.decode()
	l.check()
	if len(l.problems) > 0 {
		return nil, l.inOrder()
	}
	l.fillIn()
	cfg.Warnings = l.warnings
	return cfg, nil
}
