<!doctype html>
<title>Sign in</title>
<form method="post" action="/login">
  @csrf
  <input name="name" placeholder="Name" />
  <input name="password" type="password" placeholder="Password" />
  <button>Sign in</button>
</form>
