-- Shows a master's mark, which is when it was made; makes one where there is none.
-- KEYS[1] the mark. ARGV: 1 nonce, 2 life ms.
local mark = redis.call('GET', KEYS[1])
if not mark then
    local time = redis.call('TIME')
    mark = time[1] .. '.' .. time[2]
    redis.call('SET', KEYS[1], mark, 'PX', ARGV[2])
elseif redis.call('PTTL', KEYS[1]) * 2 < tonumber(ARGV[2]) then
    redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return {ARGV[1], KEYS[1], mark}
