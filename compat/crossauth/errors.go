package crossauth

import "net/http"

// Code is an error code of Crossauth, by its name there.
type Code string

// The codes, in the original's order and spelling.
const (
	UserNotExist              Code = "UserNotExist"
	PasswordInvalid           Code = "PasswordInvalid"
	EmailNotExist             Code = "EmailNotExist"
	UsernameOrPasswordInvalid Code = "UsernameOrPasswordInvalid"
	InvalidClientId           Code = "InvalidClientId"
	ClientExists              Code = "ClientExists"
	InvalidClientSecret       Code = "InvalidClientSecret"
	InvalidClientIdOrSecret   Code = "InvalidClientIdOrSecret"
	InvalidRedirectUri        Code = "InvalidRedirectUri"
	InvalidOAuthFlow          Code = "InvalidOAuthFlow"
	UserNotActive             Code = "UserNotActive"
	EmailNotVerified          Code = "EmailNotVerified"
	TwoFactorIncomplete       Code = "TwoFactorIncomplete"
	Unauthorized              Code = "Unauthorized"
	UnauthorizedClient        Code = "UnauthorizedClient"
	InvalidScope              Code = "InvalidScope"
	InsufficientScope         Code = "InsufficientScope"
	InsufficientPriviledges   Code = "InsufficientPriviledges"
	Forbidden                 Code = "Forbidden"
	InvalidKey                Code = "InvalidKey"
	InvalidCsrf               Code = "InvalidCsrf"
	InvalidSession            Code = "InvalidSession"
	Expired                   Code = "Expired"
	Connection                Code = "Connection"
	InvalidHash               Code = "InvalidHash"
	UnsupportedAlgorithm      Code = "UnsupportedAlgorithm"
	KeyExists                 Code = "KeyExists"
	PasswordChangeNeeded      Code = "PasswordChangeNeeded"
	PasswordResetNeeded       Code = "PasswordResetNeeded"
	Factor2ResetNeeded        Code = "Factor2ResetNeeded"
	Configuration             Code = "Configuration"
	InvalidEmail              Code = "InvalidEmail"
	InvalidPhoneNumber        Code = "InvalidPhoneNumber"
	InvalidUsername           Code = "InvalidUsername"
	PasswordMatch             Code = "PasswordMatch"
	InvalidToken              Code = "InvalidToken"
	MfaRequired               Code = "MfaRequired"
	PasswordFormat            Code = "PasswordFormat"
	DataFormat                Code = "DataFormat"
	FetchError                Code = "FetchError"
	UserExists                Code = "UserExists"
	FormEntry                 Code = "FormEntry"
	BadRequest                Code = "BadRequest"
	AuthorizationPending      Code = "AuthorizationPending"
	SlowDown                  Code = "SlowDown"
	ExpiredToken              Code = "ExpiredToken"
	ConstraintViolation       Code = "ConstraintViolation"
	NotImplemented            Code = "NotImplemented"
	ValueError                Code = "ValueError"
	UnknownError              Code = "UnknownError"
)

// Error is an error with a code. Its message is the original's and holds no value.
type Error struct {
	Code    Code
	Message string

	cause error // for the log; nil mostly
}

// newError returns an error with a message, or the code's own when that is empty.
func newError(code Code, message string) error {
	if message == "" {
		message = code.Message()
	}
	return &Error{Code: code, Message: message}
}

// Error implements error.
func (e *Error) Error() string { return "crossauth: " + e.Message }

// Unwrap returns the private cause, such as a driver's error: for a log, not for a
// client.
func (e *Error) Unwrap() error { return e.cause }

// Is reports whether target is an *Error of the same code.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code
}

// meaning is what the original answers to a code.
type meaning struct {
	status  int
	message string
	oauth   string // "" is server_error
}

var unknown = meaning{status: http.StatusInternalServerError, message: "Unknown error"}

// codes is the original's table. It says Unknown error of FormEntry and UnknownError.
var codes = map[Code]meaning{
	UserNotExist:              {401, "User does not exist", ""},
	PasswordInvalid:           {401, "Password doesn't match", ""},
	EmailNotExist:             {401, "No user exists with that email address", ""},
	UsernameOrPasswordInvalid: {401, "Username or password incorrect", ""},
	InvalidClientId:           {401, "Client id is invalid", ""},
	ClientExists:              {500, "Client ID or name already exists", ""},
	InvalidClientSecret:       {401, "Client secret is invalid", ""},
	InvalidClientIdOrSecret:   {401, "Client id or secret is invalid", ""},
	InvalidRedirectUri:        {401, "Redirect Uri is not registered", ""},
	InvalidOAuthFlow:          {500, "Invalid OAuth flow type", ""},
	UserNotActive:             {403, "Account is not active", ""},
	EmailNotVerified:          {403, "Email address has not been verified", ""},
	TwoFactorIncomplete:       {403, "Two-factor setup is not complete", ""},
	Unauthorized:              {401, "Not authorized", "access_denied"},
	UnauthorizedClient:        {401, "Client not authorized", "unauthorized_client"},
	InvalidScope:              {403, "Invalid scope", "invalid_scope"},
	InsufficientScope:         {403, "Insufficient scope", ""},
	InsufficientPriviledges:   {401, "You do not have the right privileges to access this resource", ""},
	Forbidden:                 {403, "You do not have permission to access this resource", ""},
	InvalidKey:                {401, "Key is invalid", ""},
	InvalidCsrf:               {401, "CSRF token is invalid", ""},
	InvalidSession:            {401, "Session cookie is invalid", ""},
	Expired:                   {401, "Token has expired", "expired_token"},
	Connection:                {500, "Connection failure", "temporarily_unavailable"},
	InvalidHash:               {500, "Hash is not in a valid format", ""},
	UnsupportedAlgorithm:      {500, "Algorithm not supported", ""},
	KeyExists:                 {500, "Attempt to create a key that already exists", ""},
	PasswordChangeNeeded:      {403, "User must change password", ""},
	PasswordResetNeeded:       {403, "User must reset password", ""},
	Factor2ResetNeeded:        {403, "User must reset 2FA", ""},
	Configuration:             {500, "There was an error in the configuration", ""},
	InvalidEmail:              {400, "Email is not in an allowed format", ""},
	InvalidPhoneNumber:        {400, "Phone number is not in an allowed format", ""},
	InvalidUsername:           {400, "Username is not in an allowed format", ""},
	PasswordMatch:             {401, "Passwords do not match", ""},
	InvalidToken:              {401, "Token is not valid", "invalid_token"},
	MfaRequired:               {401, "MFA is required", "mfa_required"},
	PasswordFormat:            {401, "Password format was incorrect", ""},
	DataFormat:                {500, "Session data has unexpected format", ""},
	FetchError:                {500, "Couldn't execute a fetch", ""},
	UserExists:                {400, "User already exists", ""},
	FormEntry:                 {500, "Unknown error", ""},
	BadRequest:                {400, "The request is invalid", "invalid_request"},
	AuthorizationPending:      {200, "Waiting for authorization", "authorization_pending"},
	SlowDown:                  {200, "Slow polling down by 5 seconds", "slow_down"},
	ExpiredToken:              {401, "Token has expired", "expired_token"},
	ConstraintViolation:       {500, "Database update/insert caused a constraint violation", ""},
	NotImplemented:            {500, "This method has not been implemented", ""},
	ValueError:                {500, "Field is missing or wrong type", ""},
	UnknownError:              {500, "Unknown error", ""},
}

func (c Code) meaning() meaning {
	if m, ok := codes[c]; ok {
		return m
	}
	return unknown
}

// Status is the HTTP status that the original answers, 500 for unknown codes.
func (c Code) Status() int { return c.meaning().status }

// Message is the original's message for the code.
func (c Code) Message() string { return c.meaning().message }

// OAuth is the error code of OAuth 2.0 (RFC 6749, RFC 8628) for the code.
func (c Code) OAuth() string {
	if o := c.meaning().oauth; o != "" {
		return o
	}
	return "server_error"
}
