-- HMAC-SHA-256 (RFC 2104, FIPS 180-4) for a Lua that has no library to ask, in integers that LuaJIT compiles. The keyed states are made once.
local bit = require 'bit'
local band, bnot, bor, bxor, lshift, ror, rshift, tobit =
    bit.band, bit.bnot, bit.bor, bit.bxor, bit.lshift, bit.ror, bit.rshift, bit.tobit
local byte, char, rep = string.byte, string.char, string.rep

local function primes(count)
    local found, n = {}, 2
    while #found < count do
        local is_prime = true
        for _, prime in ipairs(found) do
            is_prime = is_prime and n % prime ~= 0
        end
        if is_prime then
            found[#found + 1] = n
        end
        n = n + 1
    end
    return found
end

-- The first 32 bits of a root's fraction.
local function fraction(root)
    return tobit(math.floor((root % 1) * 2 ^ 32))
end

local round, initial = {}, {}
for index, prime in ipairs(primes(64)) do
    -- The power is a little off: one step of Newton's makes it as good as a double can be.
    local root = prime ^ (1 / 3)
    root = root - (root * root * root - prime) / (3 * root * root)
    round[index] = fraction(root)
    if index <= 8 then
        initial[index] = fraction(math.sqrt(prime))
    end
end

local w = {}

-- One block of 64 bytes, from `at` on.
local function compress(state, text, at)
    for i = 1, 16 do
        local b1, b2, b3, b4 = byte(text, at, at + 3)
        w[i] = bor(lshift(b1, 24), lshift(b2, 16), lshift(b3, 8), b4)
        at = at + 4
    end
    for i = 17, 64 do
        local x, y = w[i - 15], w[i - 2]
        local s0 = bxor(ror(x, 7), ror(x, 18), rshift(x, 3))
        local s1 = bxor(ror(y, 17), ror(y, 19), rshift(y, 10))
        w[i] = tobit(w[i - 16] + s0 + w[i - 7] + s1)
    end
    local a, b, c, d, e, f, g, h = state[1], state[2], state[3], state[4], state[5], state[6], state[7], state[8]
    for i = 1, 64 do
        local s1 = bxor(ror(e, 6), ror(e, 11), ror(e, 25))
        local t1 = h + s1 + bxor(band(e, f), band(bnot(e), g)) + round[i] + w[i]
        local s0 = bxor(ror(a, 2), ror(a, 13), ror(a, 22))
        local t2 = s0 + bxor(band(a, b), band(a, c), band(b, c))
        h, g, f, e, d, c, b, a = g, f, e, tobit(d + t1), c, b, a, tobit(t1 + t2)
    end
    state[1], state[2], state[3], state[4] = tobit(state[1] + a), tobit(state[2] + b), tobit(state[3] + c), tobit(state[4] + d)
    state[5], state[6], state[7], state[8] = tobit(state[5] + e), tobit(state[6] + f), tobit(state[7] + g), tobit(state[8] + h)
end

local function copy(from, to)
    for i = 1, 8 do
        to[i] = from[i]
    end
    return to
end

-- The digest of what `state` has taken in, one block, and `text`, as bytes.
local function finish(state, text)
    local bits = (64 + #text) * 8
    local zeros = (55 - #text) % 64
    text = text .. '\128' .. rep('\0', zeros + 4) .. char(rshift(bits, 24), band(rshift(bits, 16), 255), band(rshift(bits, 8), 255), band(bits, 255))
    for at = 1, #text, 64 do
        compress(state, text, at)
    end
    local words = {}
    for i = 1, 8 do
        local word = state[i]
        words[i] = char(rshift(word, 24), band(rshift(word, 16), 255), band(rshift(word, 8), 255), band(word, 255))
    end
    return table.concat(words)
end

-- A function that makes codes with this secret, which has at most 64 bytes.
return function(secret)
    local function keyed(pad)
        local state = copy(initial, {})
        local padded = secret .. rep('\0', 64 - #secret)
        compress(state, padded:gsub('.', function(c) return char(bxor(byte(c), pad)) end), 1)
        return state
    end
    local inner, outer, state = keyed(0x36), keyed(0x5c), {}
    return function(text)
        local digest = finish(copy(inner, state), text)
        return finish(copy(outer, state), digest)
    end
end
