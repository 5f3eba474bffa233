-- Registers a connection: prunes the dead, and the newer of two connections of one device wins.
-- KEYS[1] the user's hash. ARGV: 1 nonce, 2 device, 3 record without its times, 4 age ms, 5 life ms,
-- 6 the registry's time when this was sent, as far as the sender knows, 7 the last moment at which it may be carried out,
-- 8 how many takeovers a device has 9 in so many ms: then the holder stays.
-- Bytes, counted from 1: 1 format, 11-28 incarnation and connection, 3-28 identity, 29-36 connected, 37-44 expires,
-- 45-52 user. Beside a device's record, under the device's name with a 1 before it, which no name has: the record that
-- the holder displaced, for its own connect when it is repeated, and for who displaces it or removes it before that;
-- behind it a byte with the number of takeovers and 8 with when they began.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if now > tonumber(ARGV[7]) then
    return {ARGV[1], KEYS[1], 'late'}
end

local function expires(record)
    if #record < 52 or string.byte(record, 1) == 0 then
        return 0
    end
    return (struct.unpack('>I8', record, 37))
end

-- Numbers byte by byte: Lua compares strings by the locale, and its own numbers have but 53 bits.
local function exceeds(a, b, first, last)
    for at = first, last do
        local x, y = string.byte(a, at), string.byte(b, at)
        if x ~= y then
            return x > y
        end
    end
    return nil
end

local function is_of_this_user(record)
    return string.sub(record, 45, 52) == string.sub(ARGV[3], 45, 52)
end

local held, remembered, last = nil, nil, 0
local memory = '\1' .. ARGV[2]
local all = redis.call('HGETALL', KEYS[1])
for at = 1, #all, 2 do
    local ends = expires(all[at + 1])
    if all[at] == ARGV[2] then
        if ends > now and is_of_this_user(all[at + 1]) then
            held = all[at + 1]
        end
    elseif ends <= now then
        redis.call('HDEL', KEYS[1], all[at], '\1' .. all[at])
    elseif all[at] == memory then
        remembered = all[at + 1]
    elseif ends > last and string.byte(all[at], 1) ~= 1 then
        last = ends
    end
end

-- Neither a request that was long under way nor a clock that was set back makes a connection newer than it is.
local connected = math.max(0, math.min(now, tonumber(ARGV[6])) - tonumber(ARGV[4]))
if held and string.sub(held, 3, 28) == string.sub(ARGV[3], 3, 28) then
    connected = math.min(connected, (struct.unpack('>I8', held, 29)))
    held = nil
elseif not held and remembered then
    redis.call('HDEL', KEYS[1], memory)
    remembered = nil
end
local ends = now + tonumber(ARGV[5])
local mine = string.sub(ARGV[3], 1, 28) .. struct.pack('>I8I8', connected, ends) .. string.sub(ARGV[3], 45)

if held then
    local newer = exceeds(held, mine, 29, 36)
    if newer == nil then
        newer = exceeds(held, mine, 11, 28)
    end
    if newer == nil then
        newer = exceeds(held, mine, 3, 10)
    end
    if newer then
        return {ARGV[1], KEYS[1], 'beaten', held}
    end
end

-- Only who has come within that time takes part in a fight: one that is registered again has had its device all along.
local takeovers, since = 0, now
if held and remembered then
    local began = struct.unpack('>I8', remembered, #remembered - 7)
    if now - began < tonumber(ARGV[9]) then
        takeovers, since = string.byte(remembered, -9), began
    end
end
if held and tonumber(ARGV[4]) < tonumber(ARGV[9]) then
    if takeovers >= tonumber(ARGV[8]) then
        return {ARGV[1], KEYS[1], 'fought', held}
    end
    takeovers = takeovers + 1
end

redis.call('HSET', KEYS[1], ARGV[2], mine)
if held then
    redis.call('HSET', KEYS[1], memory, held .. string.char(takeovers) .. struct.pack('>I8', since))
end
redis.call('PEXPIREAT', KEYS[1], math.max(last, ends))
return {ARGV[1], KEYS[1], 'stands', held or '', remembered and string.sub(remembered, 1, -10) or ''}
