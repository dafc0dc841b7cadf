-- Sends distinct updates of 700 bytes and prints figures as JSON. Arguments: the secret, and an id unique to the run.
local threads = 0

function setup(thread)
  thread:set("thread_number", threads)
  threads = threads + 1
end

function init(args)
  run = args[2]
  count = 0
  -- Every update is newer than the last, so that each of them changes its profile.
  started = os.time() * 1000 - 1800000
  headers = { ["Content-Type"] = "application/json", ["X-Max-Bot-Api-Secret"] = args[1] }
  padding = string.rep("x", 700)
end

function request()
  count = count + 1
  local at = started + count
  local body = string.format(
    '{"update_type":"message_created","timestamp":%d,"message":{"sender":{"user_id":%d,"first_name":"Ivan",' ..
    '"last_name":"Petrov","is_bot":false},"recipient":{"chat_id":182182182,"chat_type":"dialog"},"timestamp":%d,' ..
    '"body":{"mid":"mid.%s.%d.%d","seq":1,"text":"',
    at, count % 5000 + 1, at, run, thread_number, count)
  return wrk.format("POST", "/webhook/max", headers, body .. string.sub(padding, 1, 700 - #body - 4) .. '"}}}')
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    '{"requests":%d,"seconds":%f,"refused":%d,"broken":%d,"p50_ms":%f,"p99_ms":%f}\n',
    summary.requests, summary.duration / 1e6, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000))
end
