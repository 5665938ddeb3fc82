"""Dead letters for operators: looked at, sent again, deleted; the routes and the command."""
