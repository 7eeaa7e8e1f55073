<!doctype html>
<title>Orders</title>
<form method="post" action="/logout">@csrf <button>Sign out</button></form>
<button id="ship">Order, and have it shipped</button>
<ul id="notifications"></ul>

<script type="module">
  import { Notifications } from "/notify/client.js";

  const show = (text) => {
    const line = document.createElement("li");
    line.textContent = text;
    document.querySelector("#notifications").append(line);
  };
  const share = "{{ $user->id }}";
  const notifications = new Notifications("/notify", { share, storage: sessionStorage });
  notifications.addEventListener("order.shipped", ({ data }) =>
    show(`Order ${JSON.parse(data).data.order} is on its way`),
  );
  notifications.addEventListener("aionotify.gap", () => show("You have missed something: reload"));
  notifications.addEventListener("error", ({ detail }) => {
    if (detail.final) location.assign("/login");
  });

  const headers = { "X-CSRF-TOKEN": "{{ csrf_token() }}" };
  document.querySelector("#ship").onclick = () => fetch("/orders", { method: "POST", headers });
</script>
