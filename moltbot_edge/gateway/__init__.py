"""One exchange: a request goes to one candidate after another until one answers, and its answer to the caller.

exchange    candidates in order, one attempt after another
plan        which candidates, as the policy orders them
attempt     one of them asked, and what is noted of it
standings   what is known of all deployments
experience  what became of choices, for policies that learn; keeping, in a file
rendering   a prompt for an engine of this board, made steady
relay       the same dialect on both sides and nobody looks inside: bytes pass
translate   another dialect, or a transcript that has to be cleaned: request and reply are written anew
abilities   what an engine's template takes, asked of the engine; count, how many tokens a request has
output      the caller's side: begun once, kept open with pings, ended cleanly
dialects    which one is spoken at a path, each made at its first use
caller      what the gateway needs of a server
"""
