package sqlite

import _ "zombiezen.com/go/sqlite"
