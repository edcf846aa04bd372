"""One exchange: a request goes to one candidate after another until one answers, and its answer to the caller.

exchange     from the model's name to the end of the reply; the names asked for in its place
directory    what there is, as it is found out; own_models, what is put on this board while it runs
plan         which candidates, as the policy orders them; standings and state, what is known of them
rounds       one candidate after another: lines, who has room; hedging, two at once; home, what may leave the LAN
attempt      one of them asked: asked, its values; outgoing, the request; ledger, what is noted; watch, who is probed
relay        the same dialect on both sides and nobody looks inside: bytes pass
translate    another dialect, or a transcript that has to be cleaned: request and reply are written anew; translations
             makes them, abilities knows what a template takes, count how many tokens a request has
sessions     conversations that are kept; conversation, one request's share of one; archive, how people handle them;
             watched_store, what is wrong with their store; unkept, what it could not take; room, memory for those at
             work; fit, what of one a model's window takes; summaries, of the rest
engines      what is needed of this board's; foresight, what a request would find there; rendering, a prompt made steady
             for them; progress, how far one has come
output       the caller's side: begun once, kept open with pings, ended cleanly
experience   what became of choices, for policies that learn; keeping, in a file
dialects     which one is spoken at a path, each made at its first use
caller       what the gateway needs of a server
noise        random bytes for ids
"""
