package export

import (
	"encoding/json"
	"strings"

	"vouchsafe/engine"
	"vouchsafe/engine/audit"
)

// OCSFVersion is the version of the schema that OCSF events follow.
const OCSFVersion = "1.4.0"

// The class is API Activity: an actor, with the authorization that was decided
// for them, calls one operation of an API. Authorize Session (3003) speaks of the
// privileges that a session gets when it begins, which nothing here does.
const (
	ocsfCategory = 6    // Application Activity
	ocsfClass    = 6003 // API Activity
)

// Values of OCSF's enumerations.
const (
	activityUnknown, activityRead, activityUpdate, activityDelete = 0, 2, 3, 4

	severityInformational, severityLow, severityMedium, severityHigh = 1, 2, 3, 4

	statusUnknown, statusSuccess, statusFailure = 0, 1, 2
)

type ocsfActivity struct {
	ActivityID   int          `json:"activity_id"`
	ActivityName string       `json:"activity_name"`
	CategoryUID  int          `json:"category_uid"`
	CategoryName string       `json:"category_name"`
	ClassUID     int          `json:"class_uid"`
	ClassName    string       `json:"class_name"`
	TypeUID      int          `json:"type_uid"`
	Time         int64        `json:"time"` // Unix milliseconds
	Duration     int64        `json:"duration,omitempty"`
	SeverityID   int          `json:"severity_id"`
	StatusID     int          `json:"status_id"`
	StatusCode   string       `json:"status_code,omitempty"`
	StatusDetail string       `json:"status_detail,omitempty"`
	Message      string       `json:"message"`
	Metadata     ocsfMetadata `json:"metadata"`
	Actor        ocsfActor    `json:"actor"`
	API          ocsfAPI      `json:"api"`
	SrcEndpoint  ocsfEndpoint `json:"src_endpoint"`
	HTTPResponse *ocsfHTTP    `json:"http_response,omitempty"`
}

type ocsfMetadata struct {
	Version        string      `json:"version"`
	UID            string      `json:"uid"`
	CorrelationUID string      `json:"correlation_uid,omitempty"`
	TenantUID      string      `json:"tenant_uid"`
	LogName        string      `json:"log_name"`
	Sequence       int64       `json:"sequence,omitempty"`
	Product        ocsfProduct `json:"product"`
}

type ocsfProduct struct {
	Name       string `json:"name"`
	VendorName string `json:"vendor_name"`
	Version    string `json:"version,omitempty"`
}

type ocsfActor struct {
	AppName        string              `json:"app_name"`
	User           *ocsfUser           `json:"user,omitempty"`
	Session        *ocsfSession        `json:"session,omitempty"`
	Authorizations []ocsfAuthorization `json:"authorizations"`
}

type ocsfUser struct {
	UID       string `json:"uid"`
	Name      string `json:"name,omitempty"`
	EmailAddr string `json:"email_addr,omitempty"`
	TypeID    int    `json:"type_id"`
}

type ocsfSession struct {
	UID string `json:"uid"`
}

type ocsfAuthorization struct {
	Decision string     `json:"decision"`
	Policy   ocsfPolicy `json:"policy"`
}

type ocsfPolicy struct {
	Name string `json:"name"`
	UID  string `json:"uid"`
	Desc string `json:"desc,omitempty"`
}

type ocsfAPI struct {
	Operation string       `json:"operation"`
	Request   ocsfRequest  `json:"request"`
	Response  *ocsfReply   `json:"response,omitempty"`
	Service   *ocsfService `json:"service,omitempty"`
}

type ocsfRequest struct {
	UID string `json:"uid"`
}

type ocsfReply struct {
	Error string `json:"error,omitempty"`
	Code  int    `json:"code,omitempty"`
}

type ocsfService struct {
	Name string `json:"name"`
}

type ocsfEndpoint struct {
	SvcName string `json:"svc_name"`
}

type ocsfHTTP struct {
	Code int `json:"code"`
}

// activities are OCSF's words for what an action does. What a write makes or
// changes is not known here, so both are an update.
var activities = map[string]struct {
	id   int
	name string
}{
	"read": {activityRead, "Read"}, "write": {activityUpdate, "Update"}, "destructive": {activityDelete, "Delete"},
}

func ocsfEvent(e *audit.Entry, o Options) ocsfActivity {
	d, a := &e.Decision, &e.About
	var in personless
	_ = json.Unmarshal(d.Input, &in) // what cannot be read has no risk, which OCSF calls unknown
	act, known := activities[in.Action.Risk]
	if !known {
		act.id, act.name = activityUnknown, "Unknown"
	}
	out := ocsfActivity{
		ActivityID: act.id, ActivityName: act.name,
		CategoryUID: ocsfCategory, CategoryName: "Application Activity",
		ClassUID: ocsfClass, ClassName: "API Activity", TypeUID: ocsfClass*100 + act.id,
		Time: d.Time.UnixMilli(), SeverityID: severity(e), StatusCode: e.Code(),
		Metadata: ocsfMetadata{Version: OCSFVersion, UID: d.ID, CorrelationUID: d.Parent, TenantUID: e.Site, LogName: "decisions",
			Product: ocsfProduct{"Vouchsafe", "Vouchsafe", o.Version}},
		Actor: ocsfActor{AppName: "vouchsafe", Authorizations: []ocsfAuthorization{{Decision: word(d.Allow),
			Policy: ocsfPolicy{Name: "authz", UID: d.Policy, Desc: strings.Join(d.Reasons, " ")}}}},
		API:         ocsfAPI{Operation: operation(d.Action), Request: ocsfRequest{d.ID}},
		SrcEndpoint: ocsfEndpoint{channel(a.Channel)},
		Message:     "a visitor's request was " + word(d.Allow),
	}
	if o.Personal {
		if a.Identity.Subject != "" {
			out.Actor.User = &ocsfUser{UID: a.Identity.Subject, EmailAddr: a.Identity.Email, TypeID: 1}
		}
		if a.Conversation.ID != "" {
			out.Actor.Session = &ocsfSession{a.Conversation.ID}
		}
	}
	switch x := e.Outcome; {
	case !d.Allow:
		out.StatusID = statusFailure
	case x == nil:
		out.StatusID = statusUnknown
		if d.Asked {
			out.StatusID, out.StatusDetail = statusSuccess, "only asked: nothing was to follow"
		}
	default:
		out.StatusID, out.Duration = statusSuccess, x.Milliseconds
		if x.Code != "" {
			out.StatusID = statusFailure
			out.API.Response = &ocsfReply{Error: x.Code, Code: x.Status}
		}
		if x.Code == engine.CodeOutcomeUnknown {
			out.StatusID = statusUnknown
		}
		if x.Connector != "" {
			out.API.Service = &ocsfService{x.Connector}
		}
		if x.Status != 0 {
			out.HTTPResponse = &ocsfHTTP{x.Status}
		}
		if len(x.Withheld) > 0 {
			out.StatusDetail = "withheld: " + strings.Join(x.Withheld, " ")
		}
	}
	return out
}

func word(allow bool) string {
	if allow {
		return "allowed"
	}
	return "denied"
}

// operation is never empty: OCSF requires one.
func operation(action string) string {
	if action == "" {
		return "unknown"
	}
	return action
}

func channel(c string) string {
	if c == "" {
		return "unknown"
	}
	return c
}

// severity is how much it matters to whoever watches: somebody who asked for
// another's account more than somebody who had not signed in, and a policy that
// tried to allow what none may most of all.
func severity(e *audit.Entry) int {
	codes := append([]string{}, e.Decision.Reasons...)
	if e.Outcome != nil {
		codes = append(append(codes, e.Outcome.Code), e.Outcome.Withheld...)
	}
	most := severityInformational
	for _, code := range codes {
		switch code {
		case "":
		case engine.CodeWall, engine.CodePolicyError:
			most = severityHigh
		case engine.CodeTargetMismatch, engine.CodeNotOwner, engine.CodeOutcomeUnknown, engine.CodeIdentityRevoked:
			most = max(most, severityMedium)
		default:
			most = max(most, severityLow)
		}
	}
	return most
}
