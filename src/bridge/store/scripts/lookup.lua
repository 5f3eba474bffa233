-- Shows a user's records, dead and displaced ones too, and the time by which they are.
-- KEYS[1] the user's hash. ARGV: 1 nonce.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
return {ARGV[1], KEYS[1], now, redis.call('HGETALL', KEYS[1])}
