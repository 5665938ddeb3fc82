"""What a script asks first that uses keys it does not announce: whether its slot is being moved to another node.

Rule guarded: in a slot of a Redis Cluster that is being moved a script does nothing, rather than half of it or with a
part of its keys.

Why: the nodes look at announced keys only. A script with others is run by the new owner as soon as the announced ones
are there. Each of the others that is still on its way is a key that does not exist: an id would be new that is
remembered, a flow empty that holds messages, and what is written would stand on both nodes, which stops the move. The
former owner in turn refuses such a key in the middle of the script, after some was written.

How: both nodes refuse a command that names two keys of which one is missing, while they move the slot and only then
("Redis cluster specification", "ASK redirection" and "Multiple keys operations"). The client tries again later.
"""

# refuse_move(name) asks for two keys in the slot of `name` that nothing ever has.
REFUSE_MOVE = """
local function refuse_move(name) redis.call('EXISTS', name .. ':?', name .. ':??') end
"""
