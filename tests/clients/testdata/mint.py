# Prints two tokens.
import json
import os
import types

import recipe

user = json.loads(os.environ["TEST_USER"])
user = types.SimpleNamespace(id=user["id"], email=user["email"], name=user["name"], email_verified=user["emailVerified"])
assert recipe.vouchsafe_token(None)[0] == 401
status, headers, body = recipe.vouchsafe_token(user)
assert status == 200 and headers["Cache-Control"] == "no-store"
print(body)
print(recipe.visitor_token(user))
