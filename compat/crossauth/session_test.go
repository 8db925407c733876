package crossauth_test

const longSecret = "CROSSAUTH secret of 32 bytes or more"
