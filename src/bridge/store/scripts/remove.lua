-- Removes a node's lease if this run holds it.
-- KEYS: 1 node -> lease, 2 nodes by the end of their lease. ARGV: 1 nonce, 2 node, 3 incarnation.
local held = redis.call('HGET', KEYS[1], ARGV[2])
if held and string.sub(held, 2, 9) == ARGV[3] then
    redis.call('HDEL', KEYS[1], ARGV[2])
    redis.call('ZREM', KEYS[2], ARGV[2])
    return {ARGV[1], KEYS[1], 1}
end
return {ARGV[1], KEYS[1], 0}
