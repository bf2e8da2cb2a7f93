-- The health of a VpcPeering, or of another kind of this operator, in Argo CD. Argo CD runs it without Lua's libraries for strings and mathematics.
local function health(status, message)
  return { status = status, message = message }
end

local status = obj.status or {}

-- The status does not describe the current spec yet.
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
  return health("Progressing", "the operator has not said yet whether it is ready")
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
-- The next step may take days: it is up to the accepter's owner, or to the user who requested the dry run.
if ready.reason == "PendingAcceptance" or (ready.reason == "DryRun" and holds("DryRunSucceeded")) then
  return health("Suspended", ready.message)
end
return health("Progressing", ready.message)
