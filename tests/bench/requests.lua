-- One request again and again, and figures as JSON. Arguments: method, path, headers ("name=value" joined by "|"), body;
-- %d in the body is another number each time, from the start given as the last argument.
function init(args)
  method, path, body, count = args[1], args[2], args[4] or "", tonumber(args[5] or "0")
  headers = {}
  for name, value in string.gmatch(args[3], "([^=|]+)=([^|]+)") do headers[name] = value end
end

function request()
  if body == "" then return wrk.format(method, path, headers) end
  count = count + 1
  return wrk.format(method, path, headers, string.format(body, count))
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    '{"requests":%d,"seconds":%f,"refused":%d,"broken":%d,"p50_ms":%f,"p99_ms":%f}\n',
    summary.requests, summary.duration / 1e6, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000))
end
