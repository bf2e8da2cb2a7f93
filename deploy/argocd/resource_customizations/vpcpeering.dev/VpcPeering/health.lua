-- What Argo CD shows of a VpcPeering. It runs without Lua's libraries for strings and mathematics.
local function health(status, message)
  return { status = status, message = message }
end

local status = obj.status or {}

-- A status that speaks of an older spec says nothing of this one.
if status.observedGeneration ~= obj.metadata.generation then
  return health("Progressing", "the operator has not looked at this generation yet")
end

local conditions = {}
for _, condition in ipairs(status.conditions or {}) do
  conditions[condition.type] = condition
end

local function holds(type)
  return conditions[type] ~= nil and conditions[type].status == "True"
end

local ready = conditions.Ready
if ready == nil then
  return health("Progressing", "the operator has not said yet whether the peering is ready")
end
if holds("Stalled") then
  return health("Degraded", conditions.Stalled.message)
end
if holds("Suspended") then
  return health("Suspended", conditions.Suspended.message)
end
if ready.status == "True" then
  return health("Healthy", ready.message)
end
-- Somebody else's move, which may take days: the accepter's owner, or whoever asked for a dry run.
if ready.reason == "PendingAcceptance" or (ready.reason == "DryRun" and holds("DryRunSucceeded")) then
  return health("Suspended", ready.message)
end
return health("Progressing", ready.message)
