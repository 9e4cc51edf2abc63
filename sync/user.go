package sync

// User is a user of Teleport, as far as it tells who a person of Jira is there.
type User struct {
	Name string
	// JiraIDs are the values of the trait that holds the person's Jira account id (on Data Center:
	// the user's key or name).
	JiraIDs []string
}

// UserQuery picks users of Teleport by one of its fields; the other is empty.
type UserQuery struct {
	// Name is the exact user name.
	Name string
	// JiraID is one of the values of the trait.
	JiraID string
}
