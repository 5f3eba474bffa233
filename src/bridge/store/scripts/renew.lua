-- Renews a node's lease, and forgets those that have run out.
-- KEYS: 1 node -> lease, 2 nodes by the end of their lease. ARGV: 1 nonce, 2 node, 3 lease without its times, 4 life ms.
-- Bytes of a lease, counted from 1: 2-9 incarnation, 10-17 end, 18-25 when it was made.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local dead = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, 100)
for _, node in ipairs(dead) do
    redis.call('HDEL', KEYS[1], node)
    redis.call('ZREM', KEYS[2], node)
end

local held = redis.call('HGET', KEYS[1], ARGV[2])
local found, other, since = 'absent', '', now
if held and #held >= 25 and struct.unpack('>I8', held, 10) > now then
    found, other, since = 'kept', string.sub(held, 2, 9), (struct.unpack('>I8', held, 18))
    for at = 2, 9 do
        local theirs, mine = string.byte(held, at), string.byte(ARGV[3], at)
        if theirs > mine then
            return {ARGV[1], KEYS[1], 'superseded', other, since}
        elseif theirs < mine then
            found, since = 'took over', now
            break
        end
    end
end

local ends = now + tonumber(ARGV[4])
local lease = string.sub(ARGV[3], 1, 9) .. struct.pack('>I8I8', ends, since) .. string.sub(ARGV[3], 26)
redis.call('HSET', KEYS[1], ARGV[2], lease)
redis.call('ZADD', KEYS[2], ends, ARGV[2])
local last = redis.call('ZREVRANGE', KEYS[2], 0, 0, 'WITHSCORES')[2]
redis.call('PEXPIREAT', KEYS[1], last)
redis.call('PEXPIREAT', KEYS[2], last)
return {ARGV[1], KEYS[1], found, other, since}
