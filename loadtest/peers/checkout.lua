-- The checkout edge's job in Lua, as one would write it for nginx: whatever can be made once is made once, and both HMACs are OpenSSL's.
local ffi = require 'ffi'
local cjson = require 'cjson'
local base64 = require 'ngx.base64'
local hmac = require 'hmac'

ffi.cdef 'int RAND_bytes(unsigned char *buf, int num);'

local LIFETIME_S = 86400
local LINES_MAX = 50
local QUANTITY_MAX = 1000

local M = {}
local settings, stores, catalogue, key_mac, signing_mac, increment

local random = ffi.new 'unsigned char[16]'

local hex_of = {}
for byte = 0, 255 do
    hex_of[string.char(byte)] = string.format('%02x', byte)
end

local function hex(bytes)
    return (bytes:gsub('.', hex_of))
end

function M.init(given)
    settings = given
    key_mac = hmac(ffi.C, ngx.decode_base64(given.pepper))
    signing_mac = hmac(ffi.C, ngx.decode_base64(given.signing_secret))
    catalogue = { [given.sku] = { [given.currency] = true } }
    increment = 60 / given.limit
    stores = {}
    for line in io.lines(given.keys) do
        local key, store = line:match '^(%x+) (%d+)$'
        local bytes = key:gsub('%x%x', function(pair) return string.char(tonumber(pair, 16)) end)
        stores[bytes] = store
    end
end

-- A token bucket in one number, the time at which it is full again; shared by all processes, had there been more.
local function take(key)
    local buckets, now = ngx.shared.buckets, ngx.now()
    local full_at = buckets:get(key) or now
    if full_at < now then
        full_at = now
    end
    local taken = full_at + increment
    local admitted = taken - now <= 60
    if admitted then
        buckets:set(key, taken, 120)
        full_at = taken
    end
    local headers = ngx.header
    headers['X-RateLimit-Limit'] = settings.limit
    headers['X-RateLimit-Remaining'] = math.floor((60 - (full_at - now)) / increment)
    headers['X-RateLimit-Reset'] = math.ceil(full_at)
    return admitted
end

local formatted_s, formatted

local function rfc3339(unix_s)
    if formatted_s ~= unix_s then
        formatted_s, formatted = unix_s, os.date('!%Y-%m-%dT%H:%M:%SZ', unix_s)
    end
    return formatted
end

local function send(status, body)
    ngx.status = status
    ngx.header['Content-Type'] = 'application/json'
    ngx.header['Content-Length'] = #body
    ngx.header['Cache-Control'] = 'no-store'
    ngx.header['X-Request-Id'] = ngx.var.request_id
    ngx.print(body)
end

local function refuse(status, code)
    send(status, '{"code":"' .. code .. '"}')
end

function M.answer()
    if ngx.req.get_method() ~= 'POST' then
        return refuse(405, 'method_not_allowed')
    end
    local authorization = ngx.var.http_authorization
    local key = authorization and authorization:match '^Bearer (%S+)$'
    local key_digest = key and key_mac(key)
    local store = key_digest and stores[key_digest]
    if not store or ngx.var.slug ~= settings.slug then
        return refuse(401, 'invalid_api_key')
    end
    if not take(key_digest) then
        return refuse(429, 'rate_limited')
    end
    ngx.req.read_body()
    local read, request = pcall(cjson.decode, ngx.req.get_body_data() or '')
    if not read or type(request) ~= 'table' or type(request.cart) ~= 'table' or type(request.currency) ~= 'string' then
        return refuse(400, 'invalid_request')
    end
    local currency = request.currency:upper()
    local lines = {}
    for sku, quantity in pairs(request.cart) do
        if type(quantity) ~= 'number' or quantity < 1 or quantity > QUANTITY_MAX or quantity % 1 ~= 0 then
            return refuse(400, 'invalid_request')
        end
        local prices = catalogue[sku]
        if not prices then
            return refuse(404, 'product_not_found')
        end
        if not prices[currency] then
            return refuse(400, 'price_not_available')
        end
        lines[#lines + 1] = { sku = sku, quantity = quantity }
    end
    if #lines == 0 or #lines > LINES_MAX then
        return refuse(400, 'invalid_request')
    end
    table.sort(lines, function(a, b) return a.sku < b.sku end)
    local now_s = ngx.time()
    local expires_s = now_s + LIFETIME_S
    ffi.C.RAND_bytes(random, 16)
    local claims = {
        s = tonumber(store), m = 'live', c = lines, cur = currency, iat = now_s, exp = expires_s, id = hex(ffi.string(random, 16)),
    }
    local signed = 'cs1.' .. settings.signing_id .. '.' .. base64.encode_base64url(cjson.encode(claims))
    local token = signed .. '.' .. base64.encode_base64url(signing_mac(signed))
    send(201, '{"token":"' .. token .. '","checkout_url":"' .. settings.public_base_url .. '/s/' .. settings.slug .. '/cart/?token='
        .. token .. '","expires_at":"' .. rfc3339(expires_s) .. '"}')
end

return M
