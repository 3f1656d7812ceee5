-- What wrk sends: wrk ... URL -- METHOD BODY-FILE [HEADER VALUE]...
function init(args)
  wrk.method = args[1]
  local file = assert(io.open(args[2], "rb"))
  local body = file:read("*a")
  file:close()
  if #body > 0 then
    wrk.body = body
  end
  for i = 3, #args, 2 do
    wrk.headers[args[i]] = args[i + 1]
  end
end
