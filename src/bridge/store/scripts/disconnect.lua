-- Removes a device's record, and that of whom it displaced, if it is this connection's. Shows the latter.
-- KEYS[1] the user's hash. ARGV: 1 nonce, 2 device, 3 identity.
local held = redis.call('HGET', KEYS[1], ARGV[2])
if held and string.sub(held, 3, 28) == ARGV[3] then
    local displaced = redis.call('HGET', KEYS[1], '\1' .. ARGV[2])
    redis.call('HDEL', KEYS[1], ARGV[2], '\1' .. ARGV[2])
    return {ARGV[1], KEYS[1], 1, displaced and string.sub(displaced, 1, -10) or ''}
end
return {ARGV[1], KEYS[1], 0, ''}
